"""Discovery ``zookeeper``: nodes register in ZooKeeper; needs kazoo (the extra ``zookeeper``).

Features: whole sets yes; announces yes; server needed ZooKeeper; death noticed after the session time.

Address form: ``zookeeper://HOST:PORT,HOST:PORT/PATH``; the port defaults to 2181. Name all servers of the ensemble.

Options (in the query):
    ``session_s``: seconds that ZooKeeper waits for a process before it takes its entry away, default 4. The server has
    bounds of its own (by default 4 to 40 s).

``PATH`` holds one ephemeral entry a node. An entry made by hand may be persistent: it is a node like the others, for as
long as it is there. A path that does not exist holds no nodes; announcing makes it.

Invariants: while there is no connection the set stands, whatever becomes of the session; after every new connection the
set is read again and the own entry is looked after. kazoo's threads only ever set an event: whoever talks to ZooKeeper
is a thread of ours.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from mishards.discovery.api import Listener, NodeRecord
from mishards.discovery.record import decode, encode
from mishards.errors import BadNodeRecord, DiscoveryError
from mishards_plugins.discovery.zookeeper_session import ANSWER_S, CLOSE_S, Session, ZooKeeperOptions, entry_name, parse

log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class ZooKeeperDiscovery:
    """Watches the entries below a path."""

    def __init__(self, options: ZooKeeperOptions) -> None:
        self._options = options
        self._complaints: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._session: Session | None = None
        self._thread: threading.Thread | None = None

    def open(self, listener: Listener) -> None:
        """Begin to watch."""
        self._session = Session(self._options)
        self._thread = threading.Thread(
            target=self._run, args=(listener, self._session), name="discovery-zookeeper-watch", daemon=True
        )
        self._thread.start()
        self._first.wait(5)

    def close(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._session is not None and self._thread is not None:
            self._session.changed.set()
            self._session.close()
            self._thread.join(0.5)
            self._session = None

    def _run(self, listener: Listener, session: Session) -> None:
        with contextlib.suppress(DiscoveryError):
            session.wait_connected(ANSWER_S)
        reported: frozenset[NodeRecord] | None = None
        while not self._stopped.is_set():
            session.changed.clear()
            nodes, loss = self._look(session)
            if self._stopped.is_set():
                return
            if nodes is not None and nodes != reported:
                listener.nodes(nodes)
            elif loss is not None and (reported is not None or not self._first.is_set()):
                listener.lost(loss)
            reported = nodes
            self._first.set()
            while not session.changed.wait(_PAUSE_S) and reported is not None:
                pass  # nothing has changed

    def _look(self, session: Session) -> tuple[frozenset[NodeRecord] | None, DiscoveryError | None]:
        """The nodes, or why they cannot be known."""
        if not session.connected:
            return None, session.absence()
        try:
            return self._read(session), None
        except (KazooException, KazooTimeoutError) as error:
            return None, DiscoveryError(f"{self._options.path} cannot be read from ZooKeeper: {error!r}")

    def _read(self, session: Session) -> frozenset[NodeRecord]:
        path = self._options.path
        try:
            names = session.answer(session.watch("get_children", path))
        except NoNodeError:
            if session.answer(session.watch("exists", path)) is not None:
                session.changed.set()  # it was made in between
            return frozenset()
        nodes, complaints = set(), set()
        for name, result in [(name, session.watch("get", f"{path}/{name}")) for name in names]:
            try:
                nodes.add(_node(f"{path}/{name}", session.answer(result)[0]))
            except NoNodeError:
                continue  # it went in between
            except BadNodeRecord as error:
                complaints.add(str(error))
        for complaint in sorted(complaints - self._complaints):
            log.warning("left out of discovery: %s", complaint)
        self._complaints = frozenset(complaints)
        return frozenset(nodes)


class ZooKeeperAnnouncer:
    """Holds this process's entry, and makes it again when its session was lost."""

    def __init__(self, options: ZooKeeperOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._session: Session | None = None
        self._keeper: threading.Thread | None = None
        self._path = ""
        self._raw = b""

    def announce(self, node: NodeRecord) -> None:
        """Make the entry, or replace what it holds.

        A name that is taken is waited for: its process may be dead and its session not over yet. A record that could
        not replace the one before is put in place once ZooKeeper is back.

        Raises:
            DiscoveryError: ZooKeeper cannot be reached, or a living process holds the name.
        """
        path = f"{self._options.path}/{entry_name(node.name)}"
        if self._path not in ("", path):
            raise DiscoveryError(f"this announcer holds {self._path}; it cannot also announce {node.name}")
        with self._lock:
            self._path, self._raw = path, encode(node)
        session = self._session or Session(self._options)
        try:
            session.wait_connected(5)
            self._claim(session, node.name)
        except (KazooException, KazooTimeoutError, DiscoveryError) as error:
            if self._session is None:
                session.close()
                self._path = ""
            if isinstance(error, DiscoveryError):
                raise
            raise DiscoveryError(f"cannot announce {node.name} as {path} in ZooKeeper: {error!r}") from error
        if self._session is None:
            self._session = session
            self._stopped.clear()
            self._keeper = threading.Thread(
                target=self._keep, args=(session,), name="discovery-zookeeper-keep", daemon=True
            )
            self._keeper.start()

    def withdraw(self) -> None:
        """End the session, and the entry with it."""
        self._stopped.set()
        if self._session is not None and self._keeper is not None:
            self._session.changed.set()
            self._session.close()
            self._keeper.join(CLOSE_S)
        self._session, self._path = None, ""

    def _claim(self, session: Session, name: str) -> None:
        end = time.monotonic() + self._options.takeover_s
        while not self._put(session):
            if time.monotonic() >= end:
                raise DiscoveryError(f"a living process already announces node {name} as {self._path} in ZooKeeper")
            session.changed.wait(0.2)
            session.changed.clear()

    def _keep(self, session: Session) -> None:
        settled, complained = True, False
        while not self._stopped.is_set():
            if not session.changed.wait(_PAUSE_S) and settled:
                continue
            session.changed.clear()
            if not session.connected or self._stopped.is_set():
                settled = False
                continue
            try:
                settled = self._put(session)
                trouble = "" if settled else "another process took the name"
            except (KazooException, KazooTimeoutError, DiscoveryError) as error:
                settled, trouble = False, repr(error)
            if trouble and not complained:
                log.warning("%s is not announced in ZooKeeper; trying on: %s", self._path, trouble)
            complained = not settled

    def _put(self, session: Session) -> bool:
        """Have the entry stand as it should; False when another session's stands there.

        Raises:
            DiscoveryError: the entry is persistent, so that no process will ever let go of it.
        """
        with self._lock:
            try:
                found, stat = session.answer(session.watch("get", self._path))
                if not stat.ephemeralOwner:
                    raise DiscoveryError(f"{self._path} in ZooKeeper was made by hand; delete it to announce the node")
                if stat.ephemeralOwner != session.number:
                    return False
                if found != self._raw:
                    session.answer(session.begin("set", self._path, self._raw, version=stat.version))
            except NoNodeError:
                try:
                    session.answer(session.begin("create", self._path, self._raw, ephemeral=True, makepath=True))
                    session.answer(session.watch("exists", self._path))
                except NodeExistsError:
                    return False
            except BadVersionError:
                return False  # it was changed in between: look again
            return True


class ZooKeeperPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> ZooKeeperDiscovery:
        """A discovery over the path that the URI names."""
        return ZooKeeperDiscovery(parse(uri))

    def announcer(self, uri: str) -> ZooKeeperAnnouncer:
        """An announcer below the path that the URI names."""
        return ZooKeeperAnnouncer(parse(uri))


plugin = ZooKeeperPlugin()


def _node(path: str, raw: bytes) -> NodeRecord:
    """The record of an entry. Raises BadNodeRecord."""
    node = decode(raw, path)
    if path.rpartition("/")[2] != entry_name(node.name):
        raise BadNodeRecord(f"{path} is an entry of node {node.name}, expected it as {entry_name(node.name)}")
    return node
