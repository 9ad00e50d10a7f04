"""From a call to the function that serves it, by method name and role."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import DecodeError

from milvus_node.service.jobs import Share
from milvus_node.service.pools import Pool
from mishards.answering import Answering
from mishards.errors import Code, MalformedReply, MalformedRequest, MishardsError, UnknownMethod, WriteRefused
from mishards.logs.calls import Ended
from mishards.security.guard import Guard
from mishards.tracing import spans
from mishards.transport.api import Call, GiveUp, Outcome
from mishards.wire.replies import METHODS, status_of

log = logging.getLogger(__name__)

Serve = Callable[[Call], bytes | Share[bytes]]
"""Serves one call on a worker thread: encoded request in, encoded reply out; raises MishardsError.

It may leave a share of the work, to be done together with that of other calls.
"""


Again = Callable[[Call], "Share[bytes] | None"]
"""At once, on the event loop: what ``Serve`` would leave of a call like one before. None where it must be asked."""


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a method, and where."""

    serve: Serve
    pool: Pool
    again: Again | None = None


class RunningCalls:
    """The calls under way, named ``METHOD-NUMBER``. Safe from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._methods: dict[int, str] = {}

    def enter(self, method: str) -> int:
        """Count a call in; ``leave`` takes the number that it gets."""
        number = next(self._numbers)
        self._methods[number] = method
        return number

    def leave(self, number: int) -> None:
        """Count a call out."""
        del self._methods[number]

    def names(self, without: str) -> list[str]:
        """Every call under way that is not of the method ``without``."""
        return [f"{method}-{number}" for number, method in list(self._methods.items()) if method != without]


class Dispatcher:
    """The handler of the node's server. Belongs to one event loop."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        running: RunningCalls,
        refused: frozenset[str] = frozenset(),
        ended: Sequence[Ended] = (),
        guard: Guard | None = None,
    ) -> None:
        """``refused``: methods that exist and that this role does not serve; ``ended`` are told of each call's end.

        Without a guard everybody may do everything.
        """
        self._routes = routes
        self._running = running
        self._refused = refused
        self._answering = Answering(self._routed, ended, guard, _status)

    async def __call__(self, call: Call) -> bytes:
        """Serve a call; errors of the protocol become the reply's status."""
        return await self._answering.answer(call)

    def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
        """Serve a call like one before the short way, as ``Begin`` of the transport says."""
        method = call.method
        route = self._routes.get(method)
        if route is None or route.again is None:
            return None
        number = self._running.enter(method)
        begin, over = _AtOnce(route.again, route.pool).begin, partial(self._running.leave, number)
        given_up = self._answering.begin(call, outcome, begin, over)
        if given_up is None:
            over()
        return given_up

    async def _routed(self, call: Call) -> bytes:
        method = call.method
        if method in self._refused:
            raise WriteRefused(method)
        route = self._routes.get(method)
        if route is None:
            raise UnknownMethod(method)
        number = self._running.enter(method)
        try:
            return await (self._again(route, call) or self._served(route, call))
        finally:
            self._running.leave(number)

    def _again(self, route: Route, call: Call) -> Awaitable[bytes] | None:
        """The answer to a call like one before, as soon as it has been worked out."""
        if route.again is None:
            return None
        arrived = time.monotonic()
        share = route.again(call)
        return None if share is None else _shared(route.pool, share, call, arrived)

    async def _served(self, route: Route, call: Call) -> bytes:
        task = _Task(spans.carried(route.serve), call)
        try:
            return await route.pool.run(task)
        except DecodeError as error:
            name = METHODS[call.method].request.DESCRIPTOR.name
            raise MalformedRequest(f"{call.method}: the bytes are no {name}") from error
        finally:
            task.noted()


async def _shared(pool: Pool, share: Share[bytes], call: Call, arrived: float) -> bytes:
    checked = time.monotonic()
    try:
        return await pool.share(share)
    finally:
        _note_stages(call, arrived, checked)


def _note_stages(call: Call, arrived: float, checked: float) -> None:
    """Of a call like one before, which waits for no thread before its search."""
    notes = call.notes
    notes["wait_ms"] = 0.0
    notes["check_ms"] = (checked - arrived) * 1000
    notes["search_ms"] = (time.monotonic() - checked) * 1000


class _AtOnce:
    """A call like one before, without a task."""

    __slots__ = ("_again", "_arrived", "_call", "_checked", "_given_up", "_outcome", "_pool")

    def __init__(self, again: Again, pool: Pool) -> None:
        self._again = again
        self._pool = pool

    def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
        """See ``Begin`` of the transport."""
        self._arrived = time.monotonic()
        share = self._again(call)
        if share is None:
            return None
        self._call = call
        self._outcome = outcome
        self._checked = time.monotonic()
        self._given_up = self._pool.begin(share, self._told)
        return None if self._given_up is None else self._give_up

    def _told(self, reply: bytes, error: BaseException | None) -> None:
        call, self._given_up = self._call, None
        _note_stages(call, self._arrived, self._checked)
        if error is None:
            self._outcome(reply, None)
        elif isinstance(error, MishardsError):
            self._outcome(b"", error)
        else:
            log.error("%s failed in a way that is a bug", call.method, exc_info=error)
            self._outcome(b"", MishardsError(f"internal error: {error}"))

    def _give_up(self) -> None:
        given_up, self._given_up = self._given_up, None
        if given_up is not None:
            given_up()
            _note_stages(self._call, self._arrived, self._checked)


def _status(method: str, reply: bytes) -> tuple[Code | int, str]:
    """Of a reply that goes to the caller in any case."""
    try:
        return status_of(method, reply)
    except MalformedReply as error:
        return Code.UNEXPECTED_ERROR, str(error)


class _Task:
    """A call as a thread of the pool serves it; notes how long each stage took."""

    __slots__ = ("_arrived", "_begun", "_call", "_checked", "_serve")

    def __init__(self, serve: Serve, call: Call) -> None:
        self._serve = serve
        self._call = call
        self._arrived = time.monotonic()
        self._begun = self._checked = 0.0

    def __call__(self) -> bytes | Share[bytes]:
        """Serve it."""
        self._begun = time.monotonic()
        result = self._serve(self._call)
        self._checked = time.monotonic()
        return result

    def noted(self) -> None:
        """Note the stages in milliseconds: the wait for a thread, the call itself, the search that it may leave."""
        notes, now = self._call.notes, time.monotonic()
        begun, checked = self._begun or now, self._checked or now
        notes["wait_ms"] = (begun - self._arrived) * 1000
        notes["check_ms" if "topk" in notes else "work_ms"] = (checked - begun) * 1000
        if "topk" in notes:
            notes["search_ms"] = (now - checked) * 1000
