"""From a call to the function that serves it, by method name and role."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from milvus_node.service.pools import Pool, Share
from mishards.answering import Answering
from mishards.errors import Code, MalformedReply, MalformedRequest, UnknownMethod, WriteRefused
from mishards.logs.calls import Ended
from mishards.security.guard import Guard
from mishards.tracing import spans
from mishards.transport.api import Call
from mishards.wire.replies import METHODS, status_of

Serve = Callable[[Call], bytes | Share[bytes]]
"""Serves one call on a worker thread: encoded request in, encoded reply out; raises MishardsError.

It may leave a share of the work, to be done together with that of other calls.
"""


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a method, and where."""

    serve: Serve
    pool: Pool
    again: Callable[[Call], Share[bytes] | None] | None = None
    """At once, on the event loop: what ``serve`` would leave of a call like one before. None where it must be asked."""


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
        call.notes["wait_ms"] = 0.0
        call.notes["check_ms"] = (checked - arrived) * 1000
        call.notes["search_ms"] = (time.monotonic() - checked) * 1000


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
