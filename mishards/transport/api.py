"""What a transport offers, to the serving side and to the calling side.

Nothing above this module sees a protobuf object of the transport or a type of a gRPC library. A method is its bare
name (``"Search"``); the service is always ``milvus.grpc.MilvusService``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from mishards.deadline import Deadline
from mishards.errors import MishardsError

T = TypeVar("T")

SERVICE: Final = "milvus.grpc.MilvusService"

Metadata = Sequence[tuple[str, str]]
"""Text metadata of a call, keys in lower case; binary entries (``-bin``) are not passed on."""


class NodeCall:
    """A call of a node, made to serve a call."""

    __slots__ = ("hedge", "method", "node", "outcome", "seconds")

    def __init__(self, node: str, method: str, seconds: float, outcome: str, hedge: bool = False) -> None:
        self.node = node
        self.method = method
        self.seconds = seconds
        self.outcome = outcome
        """``ok``, ``abandoned``, or the name of the error."""
        self.hedge = hedge
        """It was made besides another that took long."""


class Call:
    """One unary call as it arrived. ``request`` must not be kept longer than the call."""

    __slots__ = (
        "deadline",
        "metadata",
        "method",
        "node_calls",
        "notes",
        "peer",
        "peer_names",
        "reply_metadata",
        "request",
        "request_id",
    )

    def __init__(
        self,
        method: str,
        request: bytes,
        metadata: Metadata,
        deadline: Deadline,
        peer: str = "",
        peer_names: tuple[str, ...] = (),
    ) -> None:
        self.method = method
        self.request = request
        self.metadata = metadata
        self.deadline = deadline
        self.peer = peer
        self.peer_names = peer_names
        """The names in the client's certificate, where it was asked for one and it was verified."""
        self.reply_metadata: list[tuple[str, str]] = []
        """Initial metadata of the reply; the handler may append until it returns."""
        self.notes: dict[str, object] = {}
        """What was found out while it was served, for the line in the log and the metrics."""
        self.node_calls: list[NodeCall] = []
        """Calls of nodes made to search for it, in the order in which they ended."""
        self.request_id = ""
        """What the log calls it, once that is settled."""

    def asking(self, method: str, request: bytes) -> Call:
        """The same call asking for something else; what is noted of it is noted of both."""
        other = Call(method, request, self.metadata, self.deadline, self.peer, self.peer_names)
        other.reply_metadata, other.notes, other.node_calls = self.reply_metadata, self.notes, self.node_calls
        other.request_id = self.request_id
        return other


Handler = Callable[[Call], Awaitable[bytes]]
"""Answers a call with the encoded reply.

Runs on the server's event loop and must not block it. It may raise a ``MishardsError`` with an ``rpc_status``, which
becomes the call's gRPC status; any other exception becomes status UNKNOWN and is logged. When the client goes away
or the deadline passes, the coroutine is cancelled.

A handler may have a method ``begin`` (see ``Begin``) for calls that need no waiting but for others' answers.
"""

Outcome = Callable[[bytes, MishardsError | None], None]
"""Told once of the end of a call, on the event loop: the encoded reply, or an error. Must be quick, must not raise."""

GiveUp = Callable[[], None]
"""Ends a call that nobody waits for any more; its outcome is told to nobody."""

Begin = Callable[[Call, Outcome], "GiveUp | None"]
"""A handler's short way: begins to answer a call at once, without a task.

Returns None, having done nothing, where the call has to go the usual way. It never tells the outcome before it returns.
"""


def begin_of(handler: Handler) -> Begin | None:
    """The short way of a handler; None where it has none."""
    begin: Begin | None = getattr(handler, "begin", None)
    return begin


async def answered_by(handler: Handler, call: Call) -> bytes:
    """What a handler answers, the short way where there is one. For transports that have a task for each call."""
    begin = begin_of(handler)
    if begin is None:
        return await handler(call)
    waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    give_up = begin(call, settling(waiting))
    if give_up is None:
        return await handler(call)
    try:
        return await waiting
    except asyncio.CancelledError:
        give_up()
        raise


def settling(waiting: asyncio.Future[T]) -> Callable[[T, Exception | None], None]:
    """An outcome that settles a future, unless nobody waits for that any more."""

    def settle(result: T, error: Exception | None) -> None:
        if waiting.done():
            return
        if error is None:
            waiting.set_result(result)
        else:
            waiting.set_exception(error)

    return settle


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server listens."""

    address: str = "127.0.0.1:19530"
    """``host:port`` or ``unix:PATH``; port 0 picks a free one."""
    max_message_bytes: int = -1
    """Largest request accepted; -1 is no limit. A larger one ends as RESOURCE_EXHAUSTED."""
    max_concurrent_calls: int = 0
    """Calls under way at once; 0 is no limit. One more ends as RESOURCE_EXHAUSTED."""
    reuse_port: bool = False
    """Share the port with other processes of this program."""


class Server(Protocol):
    """A listening server. All methods belong to the event loop it was started on."""

    async def start(self) -> str:
        """Listen; return the bound ``host:port``. Raises StartError when the address cannot be had."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within ``grace_s`` seconds, cancel the rest. May be repeated."""
        ...


class Channel(Protocol):
    """A connection to one address, made lazily and remade when it breaks. Belongs to one event loop."""

    @property
    def address(self) -> str:
        """The ``host:port`` it was made for."""
        ...

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """Send one unary call and return the encoded reply.

        Raises NodeUnavailable (no connection, or it broke; ``sent`` says whether the request may have arrived),
        NodeTimeout (the deadline passed), NodeOverloaded (RESOURCE_EXHAUSTED), NodeRejected (INVALID_ARGUMENT,
        UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED, UNKNOWN and the like: a verdict on the request), NodeFault
        (any other status). Cancelling the coroutine cancels the call at the peer. Never retries.
        """
        ...

    async def close(self) -> None:
        """Close; calls under way fail with NodeUnavailable. May be repeated."""
        ...


class BeginCall(Protocol):
    """A channel's short way, its method ``begin``: sends a call now, without a task."""

    def __call__(
        self, method: str, request: bytes, outcome: Outcome, *, deadline: Deadline, metadata: Metadata = ()
    ) -> GiveUp | None:
        """Send; ``outcome`` is told what ``Channel.call`` would return or raise, but not before this returns.

        Returns None, and sends nothing, where that would take waiting, for a connection or for room on it.
        """
        ...


def begin_on(channel: Channel) -> BeginCall | None:
    """The short way of a channel; None where it has none."""
    begin: BeginCall | None = getattr(channel, "begin", None)
    return begin


class Transport(Protocol):
    """Makes servers and channels of one kind."""

    def server(self, handler: Handler, options: ServerOptions) -> Server:
        """A server that is not listening yet."""
        ...

    def channel(self, address: str) -> Channel:
        """A channel that has not connected yet."""
        ...
