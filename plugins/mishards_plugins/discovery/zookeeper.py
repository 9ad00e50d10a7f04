"""Discovery ``zookeeper``: nodes register in ZooKeeper; needs kazoo (the extra ``zookeeper``).

Features: whole sets yes; announces yes; server needed ZooKeeper; death noticed after the session time.

Address form: ``zookeeper://HOST:PORT,HOST:PORT/PATH``; the port defaults to 2181. Name all servers of the ensemble.

Options (in the query):
    ``session_s``: seconds that ZooKeeper waits for a process before it takes its entry away, default 4. The server has
    bounds of its own (by default 4 to 40 s).
    ``tls``: ``on`` or ``off``; on where a file is named. ``ca``: a file with whom to trust, default the system's.
    ``cert``, ``key``: files that prove who we are.
    ``user``: a user of ZooKeeper's scheme ``digest``, and ``password_file`` or ``password_env``, the file or the
    variable with the password. Entries can then be read and changed by this user alone.

``PATH`` holds one ephemeral entry a node. An entry made by hand may be persistent: it is a node like the others, for as
long as it is there. A path that does not exist holds no nodes; announcing makes it.

Invariants: while there is no connection the set stands, whatever becomes of the session; after every new connection the
set is read again and the own entry is looked after. kazoo's threads only ever set an event: whoever talks to ZooKeeper
is a thread of ours.
"""

from __future__ import annotations

import contextlib
import threading

from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from mishards.discovery.api import Listener, NodeRecord
from mishards.discovery.record import decode, encode
from mishards.errors import BadNodeRecord, DiscoveryError
from mishards_plugins.discovery.kept_entry import KeptAnnouncer
from mishards_plugins.discovery.reports import Found, Reports
from mishards_plugins.discovery.zookeeper_session import ANSWER_S, Session, ZooKeeperOptions, entry_name, parse

_PAUSE_S = 1.0
_CONNECT_S = 5.0


class ZooKeeperDiscovery:
    """Watches the entries below a path."""

    def __init__(self, options: ZooKeeperOptions) -> None:
        self._options = options
        self._reports: Reports | None = None
        self._session: Session | None = None
        self._thread: threading.Thread | None = None

    def open(self, listener: Listener) -> None:
        """Begin to watch."""
        self._session, self._reports = Session(self._options), Reports(listener)
        self._thread = threading.Thread(
            target=self._run, args=(self._reports, self._session), name="discovery-zookeeper-watch", daemon=True
        )
        self._thread.start()
        self._reports.wait_first()

    def close(self) -> None:
        """Stop watching."""
        if self._session is not None and self._thread is not None and self._reports is not None:
            self._reports.stop()
            self._session.changed.set()
            self._session.close()
            self._thread.join(0.5)
            self._session = None

    def _run(self, reports: Reports, session: Session) -> None:
        with contextlib.suppress(DiscoveryError):
            session.wait_connected(ANSWER_S)
        while not reports.stopped:
            session.changed.clear()
            try:
                reports.found(self._look(session))
                is_lost = False
            except DiscoveryError as error:
                reports.lost(error)
                is_lost = True
            while not session.changed.wait(_PAUSE_S) and not is_lost:
                pass  # nothing has changed

    def _look(self, session: Session) -> Found:
        """The nodes. Raises DiscoveryError when they cannot be known."""
        if not session.connected:
            raise session.absence()
        try:
            return self._read(session)
        except (KazooException, KazooTimeoutError) as error:
            raise DiscoveryError(f"{self._options.path} cannot be read from ZooKeeper: {error!r}") from error

    def _read(self, session: Session) -> Found:
        path = self._options.path
        try:
            names = session.answer(session.watch("get_children", path))
        except NoNodeError:
            if session.answer(session.watch("exists", path)) is not None:
                session.changed.set()  # it was made in between
            return Found(frozenset())
        nodes, left_out = set(), set()
        for name, result in [(name, session.watch("get", f"{path}/{name}")) for name in names]:
            try:
                nodes.add(_node(f"{path}/{name}", session.answer(result)[0]))
            except NoNodeError:
                continue  # it went in between
            except BadNodeRecord as error:
                left_out.add(str(error))
        return Found(frozenset(nodes), frozenset(left_out))


class ZooKeeperEntry:
    """An ephemeral entry, made again in a new session when its own was lost."""

    every_s = 3600.0
    """What happens to the entry or the session is heard of."""

    def __init__(self, options: ZooKeeperOptions, changed: threading.Event) -> None:
        """Raises DiscoveryError when there is no connection within 5 s."""
        self._options = options
        self.session = Session(options, changed)
        self.takeover_s = options.takeover_s
        try:
            self.session.wait_connected(_CONNECT_S)
        except DiscoveryError:
            self.session.close()
            raise

    def place(self, node: str) -> str:
        """The path."""
        return f"{self._options.path}/{entry_name(node)}"

    def put(self, node: NodeRecord) -> bool:
        """Have the entry stand as it should; False when another session's stands there.

        Raises:
            DiscoveryError: ZooKeeper cannot be reached, or the entry is persistent, so that no process will ever let go
                of it.
        """
        if not self.session.connected:
            raise self.session.absence()
        try:
            return self._put(self.place(node.name), encode(node))
        except (NodeExistsError, BadVersionError):
            return False  # it was made or changed in between
        except (KazooException, KazooTimeoutError) as error:
            raise DiscoveryError(f"{self.place(node.name)} cannot be written to ZooKeeper: {error!r}") from error

    def _put(self, path: str, raw: bytes) -> bool:
        session = self.session
        try:
            there, stat = session.answer(session.watch("get", path))
        except NoNodeError:
            session.answer(session.begin("create", path, raw, ephemeral=True, makepath=True))
            session.answer(session.watch("exists", path))
            return True
        if not stat.ephemeralOwner:
            raise DiscoveryError(f"{path} in ZooKeeper was made by hand; delete it to announce the node")
        if stat.ephemeralOwner != session.number:
            return False
        if there != raw:
            session.answer(session.begin("set", path, raw, version=stat.version))
        return True

    def remove(self) -> None:
        """End the session, and the entry with it."""
        self.session.close()


class ZooKeeperPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> ZooKeeperDiscovery:
        """A discovery over the path that the URI names."""
        return ZooKeeperDiscovery(parse(uri))

    def announcer(self, uri: str) -> KeptAnnouncer:
        """An announcer below the path that the URI names."""
        options = parse(uri)
        return KeptAnnouncer("zookeeper", lambda wake: ZooKeeperEntry(options, wake))


plugin = ZooKeeperPlugin()


def _node(path: str, raw: bytes) -> NodeRecord:
    """The record of an entry. Raises BadNodeRecord."""
    node = decode(raw, path)
    if path.rpartition("/")[2] != entry_name(node.name):
        raise BadNodeRecord(f"{path} is an entry of node {node.name}, expected it as {entry_name(node.name)}")
    return node
