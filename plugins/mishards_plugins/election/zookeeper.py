"""Election ``zookeeper``: ephemeral entries in the order in which candidates came; needs kazoo (extra ``zookeeper``).

Features: server needed ZooKeeper; a leader that died is succeeded after the session time; others notice at once.

Address form: ``zookeeper://HOST:PORT,HOST:PORT/PATH``; the port defaults to 2181. Name all servers of the ensemble.

Options (in the query): those of the discovery ``zookeeper``; ``session_s`` is the lease. The server has bounds of its
own (by default 4 to 40 s).

``PATH`` holds one ephemeral sequential entry a candidate; the one that came first leads. A leader proves itself by
writing to its entry, which only a quorum can let it do. A server passes on that a session lives up to half a tick
later, so a third of the session time is not counted on.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from mishards.election.api import Candidate, ElectionOptions, Leadership, clock, decode, encode
from mishards.election.tenure import Tenure
from mishards.errors import DiscoveryError, ElectionError
from mishards_plugins.discovery.zookeeper_session import Session, ZooKeeperOptions, parse

_CONNECT_S = 2.0
_COUNTED_ON = 2 / 3

_T = TypeVar("_T")


class ZooKeeperElector:
    """Stands with an entry of its own."""

    def __init__(self, options: ZooKeeperOptions, candidate: Candidate, election: ElectionOptions) -> None:
        self._options = options
        self._election = election
        self._candidate = candidate
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._prefix = f"candidate-{secrets.token_hex(8)}-"
        self._data = encode(candidate, self._prefix).encode()
        self._session: Session | None = None
        self._leader: Candidate | None = None
        self._tenure: Tenure | None = None

    @property
    def leader(self) -> Candidate | None:
        """Whose entry was the first when they were last listed."""
        return self._leader

    def attempt(self) -> Leadership | None:
        """Lead, if this candidate's entry is the first; make it, if there is none."""
        self._changed.clear()
        asked_at = clock()
        try:
            return self._attempt(self._connected(), asked_at)
        except (KazooException, KazooTimeoutError, DiscoveryError) as error:
            raise ElectionError(f"{self._options.path} in ZooKeeper: {error!r}") from error

    def _attempt(self, session: Session, asked_at: float) -> Leadership | None:
        names = self._listed(session)
        mine = next((name for name in names if name.startswith(self._prefix)), None)
        if mine is None:
            entry = f"{self._options.path}/{self._prefix}"
            session.answer(session.begin("create", entry, self._data, ephemeral=True, sequence=True))
            names = self._listed(session)
            mine = next((name for name in names if name.startswith(self._prefix)), None)
        first = f"{self._options.path}/{names[0]}" if names else ""
        if mine is None or names[0] != mine:
            with suppress(NoNodeError):
                self._leader = decode(session.answer(session.begin("get", first))[0].decode(errors="replace"))
            return None
        if not self._written(session, first):
            return None
        self._leader = self._candidate
        self._tenure = Tenure(
            lambda: self._asked(lambda: self._written(session, first)),
            lambda: self._asked(lambda: self._removed(session, first)),
            asked_at=asked_at,
            lease_s=self._options.session_s * _COUNTED_ON,
            renew_s=min(self._election.renew_s, self._options.session_s / 4),
        )
        return self._tenure

    def wait(self, timeout_s: float) -> None:
        """Wait for a change among the candidates."""
        self._changed.wait(min(timeout_s, self._election.renew_s / 2))

    def close(self) -> None:
        """Resign, and end the session and with it the entry."""
        self._closed.set()
        self._changed.set()
        if self._tenure is not None:
            self._tenure.resign()
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connected(self) -> Session:
        if self._session is None:
            self._session = Session(self._options, self._changed)
        self._session.wait_connected(_CONNECT_S)
        return self._session

    def _listed(self, session: Session) -> list[str]:
        """The entries in the order in which they were made; the path is made where it is not there."""
        try:
            names: list[str] = session.answer(session.watch("get_children", self._options.path))
        except NoNodeError:
            with suppress(NodeExistsError):
                session.answer(session.begin("create", self._options.path, b"", makepath=True))
            names = session.answer(session.watch("get_children", self._options.path))
        return sorted((name for name in names if name.startswith("candidate-")), key=lambda name: name[-10:])

    def _written(self, session: Session, entry: str) -> bool:
        try:
            session.answer(session.begin("set", entry, self._data))
        except NoNodeError:
            return False
        return True

    def _removed(self, session: Session, entry: str) -> None:
        with suppress(NoNodeError):
            session.answer(session.begin("delete", entry))

    def _asked(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except (KazooException, KazooTimeoutError) as error:
            raise ElectionError(f"{self._options.path} in ZooKeeper: {error!r}") from error


class ZooKeeperElection:
    """The entry point's object."""

    def elector(self, uri: str, candidate: Candidate, options: ElectionOptions) -> ZooKeeperElector:
        """An elector below the path that the URI names."""
        return ZooKeeperElector(parse(uri), candidate, options)


plugin = ZooKeeperElection()
