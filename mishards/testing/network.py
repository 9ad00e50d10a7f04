"""A transport in memory, with faults that a test injects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from mishards.deadline import Deadline
from mishards.errors import (
    MishardsError,
    NodeFault,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    RpcStatus,
    StartError,
)
from mishards.transport.api import (
    Call,
    Channel,
    GiveUp,
    Handler,
    Metadata,
    Outcome,
    Server,
    ServerOptions,
    answered_by,
)

_VERDICTS = frozenset(
    {
        RpcStatus.INVALID_ARGUMENT,
        RpcStatus.UNIMPLEMENTED,
        RpcStatus.FAILED_PRECONDITION,
        RpcStatus.PERMISSION_DENIED,
        RpcStatus.UNAUTHENTICATED,
        RpcStatus.UNKNOWN,
    }
)


@dataclass
class Link:
    """The way to one address, and what is wrong with it."""

    handler: Handler | None = None
    refused: bool = False
    """Connections are refused; nothing is sent."""
    frozen: bool = False
    """The peer takes calls and answers none until it is thawed."""
    slow_s: float = 0.0
    """Every call takes so long more."""
    faults: dict[str, list[MishardsError | None]] = field(default_factory=dict)
    """Errors to raise instead of calling, by method, one a call; None lets a call through."""
    calls: list[Call] = field(default_factory=list)
    """Every call that reached the peer."""
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryNetwork:
    """Servers and channels that find each other by address within one event loop."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._ports = iter(range(20_000, 60_000))

    def link(self, address: str) -> Link:
        """The way to an address."""
        return self._links.setdefault(address, Link())

    def calls(self, method: str) -> list[tuple[str, Call]]:
        """Every call of a method that reached its peer, with the address."""
        return [(address, c) for address, link in self._links.items() for c in link.calls if c.method == method]

    def kill(self, address: str) -> None:
        """Break the calls under way and refuse new ones, as the death of the peer does."""
        link = self.link(address)
        link.refused = True
        link.cut.set()
        link.changed.set()

    def freeze(self, address: str) -> None:
        """Answer nothing any more."""
        self.link(address).frozen = True

    def heal(self, address: str) -> None:
        """Take back all that is wrong with an address; what was frozen answers now."""
        link = self.link(address)
        link.refused, link.frozen, link.slow_s, link.faults = False, False, 0.0, {}
        link.changed.set()
        link.cut, link.changed = asyncio.Event(), asyncio.Event()

    def server(self, handler: Handler, options: ServerOptions) -> Server:
        """A server that is not listening yet."""
        return _MemoryServer(self, handler, options.address)

    def channel(self, address: str) -> Channel:
        """A channel to an address, whether somebody listens there or not."""
        return _MemoryChannel(address, self)

    def bind(self, address: str, handler: Handler) -> str:
        """Listen at an address; port 0 is any free one. Raises StartError."""
        host, _, port = address.rpartition(":")
        bound = f"{host}:{next(self._ports)}" if port == "0" else address
        link = self.link(bound)
        if link.handler is not None:
            raise StartError(f"cannot listen on {address}: the address is in use or not ours")
        link.handler = handler
        return bound


class _MemoryServer:
    def __init__(self, network: MemoryNetwork, handler: Handler, address: str) -> None:
        self._network, self._handler, self._address = network, handler, address
        self._bound: str | None = None

    async def start(self) -> str:
        self._bound = self._network.bind(self._address, self._handler)
        return self._bound

    async def stop(self, grace_s: float) -> None:
        if self._bound is not None:
            self._network.link(self._bound).handler = None


class _MemoryChannel:
    def __init__(self, address: str, network: MemoryNetwork) -> None:
        self._address, self._network = address, network
        self._closed = asyncio.Event()

    @property
    def address(self) -> str:
        return self._address

    def begin(
        self, method: str, request: bytes, outcome: Outcome, *, deadline: Deadline, metadata: Metadata = ()
    ) -> GiveUp | None:
        if self._network.link(self._address).refused or self._closed.is_set():
            return None
        call = asyncio.ensure_future(self.call(method, request, deadline=deadline, metadata=metadata))

        def told(call: asyncio.Future[bytes]) -> None:
            error = None if call.cancelled() else call.exception()
            if isinstance(error, MishardsError):
                outcome(b"", error)
            elif call.cancelled() or error is not None:
                outcome(b"", NodeFault(self._address, f"the call failed: {error!r}"))
            else:
                outcome(call.result(), None)

        call.add_done_callback(told)

        def give_up() -> None:
            call.remove_done_callback(told)
            call.cancel()

        return give_up

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        link = self._network.link(self._address)
        if link.refused or link.handler is None or self._closed.is_set():
            raise NodeUnavailable(self._address, "failed to connect", sent=False)
        fault = link.faults[method].pop(0) if link.faults.get(method) else None
        if fault is not None:
            raise fault
        call = Call(method, bytes(request), tuple(metadata), deadline, peer="memory")
        link.calls.append(call)
        answer = asyncio.ensure_future(self._answered(link, link.handler, call))
        cut = [asyncio.ensure_future(event.wait()) for event in (link.cut, self._closed)]
        try:
            await asyncio.wait([answer, *cut], timeout=deadline.timeout(), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if any(event.done() for event in cut):
                raise NodeUnavailable(self._address, "the connection broke")
            raise NodeTimeout(self._address, "the deadline passed before it answered")
        finally:
            for waiting in (answer, *cut):
                waiting.cancel()
            await asyncio.gather(answer, *cut, return_exceptions=True)

    async def _answered(self, link: Link, handler: Handler, call: Call) -> bytes:
        while link.frozen:
            await link.changed.wait()
        if link.slow_s:
            await asyncio.sleep(link.slow_s)
        return await _translated(self._address, answered_by(handler, call))

    async def close(self) -> None:
        self._closed.set()


async def _translated(address: str, answer: Awaitable[bytes]) -> bytes:
    """What the caller sees of what the handler raises."""
    try:
        return await answer
    except MishardsError as error:
        if isinstance(error, NodeRejected):
            raise NodeRejected(address, error.details, error.status) from error
        status, text = error.rpc_status or RpcStatus.UNKNOWN, str(error)
        if status is RpcStatus.UNAVAILABLE:
            raise NodeUnavailable(address, text) from error
        if status is RpcStatus.DEADLINE_EXCEEDED:
            raise NodeTimeout(address, text) from error
        if status is RpcStatus.RESOURCE_EXHAUSTED:
            raise NodeOverloaded(address, text) from error
        if status in _VERDICTS:
            raise NodeRejected(address, text, status) from error
        raise NodeFault(address, text) from error
