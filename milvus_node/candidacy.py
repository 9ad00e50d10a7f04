"""A writable node between standing by and leading: campaigns, leads while it is elected, steps down in place.

Invariant: a write is answered with success only if, after it was on disk, the lease still had time to run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from milvus_node.service.jobs import Share
from milvus_node.service.searches import SearchCalls
from milvus_node.term import Term
from mishards.election.api import Elector, Leadership
from mishards.errors import ElectionError, Fenced, LeadershipLost, MishardsError, NotLeader
from mishards.transport.api import Call
from mishards.wire.extensions import GROWING_KEY

log = logging.getLogger(__name__)

_LOOK_S = 0.1
"""How often a leader looks whether it still is one."""

_RETRY_S = 1.0
_STOP_S = 60.0


class Candidacy:
    """Owns the thread that campaigns and leads. ``serve`` is safe from any thread."""

    def __init__(
        self,
        elector: Elector,
        open_term: Callable[[Leadership], Term],
        searches: SearchCalls,
        on_change: Callable[[bool], None],
    ) -> None:
        """``on_change`` is told, on the thread, whether the node leads, before it serves writes and after."""
        self._elector = elector
        self._open_term = open_term
        self._searches = searches
        self._on_change = on_change
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        self._term: Term | None = None
        self._dropped: list[Term] = []
        self._has_looked = False
        self._patience_s = 0.0
        self._under_way = 0
        self._ended = threading.Condition()
        """A write has; its lock is the count's."""
        self._thread = threading.Thread(target=self._run, name="candidacy", daemon=True)

    @property
    def term(self) -> Term | None:
        """The term that this node leads; None while it stands by."""
        term = self._term
        return term if term is not None and term.is_proven else None

    @property
    def leader(self) -> str:
        """Who leads, for people; empty where that is not known."""
        return str(self._elector.leader or "") if self._has_looked else ""

    @property
    def is_idle(self) -> bool:
        """Is no background work of a term under way?"""
        return all(term.is_idle for term in self._dropped)

    def start(self) -> None:
        """Stand; returns once this node leads, or knows that it stands by.

        Raises:
            MishardsError: this node was elected and cannot lead; it does not stand any more.
        """
        self._thread.start()
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, patience_s: float = 0.0) -> None:
        """Take no write any more, wait so long for those under way, finish the term, and resign. May be repeated."""
        self._patience_s = patience_s
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self._elector.close()

    def serve(self, method: str, call: Call) -> bytes:
        """Serve a write.

        Raises:
            NotLeader: another node leads, or none; nothing was done.
            LeadershipLost: this node ceased to lead; the write may be done or not.
        """
        with self._counted():
            return self._served(self._led(method), method, call)

    def _served(self, term: Term, method: str, call: Call) -> bytes:
        try:
            reply = term.calls[method](call)
        except Fenced as error:
            raise LeadershipLost(f"{method} may be done or not: {error}") from error
        except MishardsError:
            term.prove()
            raise
        term.prove()
        return reply

    def search(self, call: Call) -> bytes | Share[bytes]:
        """Search; over the growing rows, where those are asked for, of the term that this node leads."""
        if GROWING_KEY not in dict(call.metadata):
            return self._searches.search(call)
        term = self._led(call.method)
        reply = term.growing.search(call)
        term.prove()
        return reply

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._ended:
            self._under_way += 1
        try:
            yield
        finally:
            with self._ended:
                self._under_way -= 1
                self._ended.notify_all()

    def _led(self, method: str) -> Term:
        """The term of this node, in which nothing of the call has been done yet."""
        term = self._term
        if term is None:
            known = f"; {self.leader} leads" if self.leader else ""
            raise NotLeader(f"{method} was not done: this writable node stands by{known}")
        try:
            term.prove()
        except LeadershipLost as error:
            raise NotLeader(f"{method} was not done: {error}") from error
        return term

    def _run(self) -> None:
        complained = False
        while not self._stopping.is_set():
            try:
                leadership = self._elector.attempt()
                complained, self._has_looked = False, True
            except ElectionError as error:
                if not complained:
                    log.warning("no election: %s", error)
                leadership, complained = None, True
            except Exception as error:
                log.exception("election failed in a way that is a bug")
                self._fail(error)
                return
            if leadership is not None and not self._lead(leadership):
                return
            if leadership is None:
                self._settled.set()
                self._elector.wait(_RETRY_S)

    def _lead(self, leadership: Leadership) -> bool:
        """Lead for as long as it lasts; False where this node is not to stand again."""
        try:
            term = self._open_term(leadership)
        except Exception as error:  # noqa: BLE001 - whatever it is, another node may be able to lead
            leadership.resign()
            log.log(logging.WARNING if isinstance(error, MishardsError) else logging.ERROR, "cannot lead: %s", error)
            if not self._settled.is_set() and not isinstance(error, LeadershipLost):
                self._fail(error)
                return False
            self._stopping.wait(_RETRY_S)
            return True
        self._on_change(True)
        self._term = term
        log.info("leading epoch=%d", term.epoch)
        self._settled.set()
        while not (self._stopping.is_set() or term.is_fenced or leadership.wait_lost(_LOOK_S)):
            pass
        self._term, self._has_looked = None, False
        self._on_change(False)
        if self._stopping.is_set() and term.is_proven:
            with self._ended:
                self._ended.wait_for(lambda: not self._under_way, self._patience_s)
            term.finish()
        else:
            log.warning("leading no more epoch=%d", term.epoch)
            term.drop()
        self._dropped = [old for old in (*self._dropped, term) if not old.is_idle]
        leadership.resign()
        return True

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._settled.set()
