"""One HTTP request while it is being answered: what it asks, the calls made for it, and when to give up.

The work ends when its deadline passes or nobody waits for the answer any more, as it would for a call over gRPC. A
client sets a deadline with the header ``Grpc-Timeout`` (``500m``, ``5S``), in the form of gRPC's own header
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request

from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded
from mishards.rest.errors import BadHttpRequest, ErrorReply, RestCode
from mishards.rest.fields import Fields
from mishards.rest.guarded import PEER_NAMES
from mishards.transport.api import Call, Handler, Metadata
from mishards.wire.replies import METHODS, status_of

T = TypeVar("T")

_UNITS_S: Mapping[str, float] = {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_METADATA = {
    "authorization": "authorization",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
    "uber-trace-id": "uber-trace-id",
    "x-request-id": "x-request-id",
}
"""Headers that go with the calls, and their names there."""
_MUCH = 1 << 20  # bytes; converting more takes milliseconds, which other requests should not wait for


class Exchange:
    """What an endpoint works with. Belongs to the event loop."""

    def __init__(self, request: Request, body: bytearray, handler: Handler, deadline: Deadline) -> None:
        self.path: Mapping[str, str] = request.path_params
        self.query: Mapping[str, str] = request.query_params
        self.headers: Mapping[str, str] = request.headers
        self.client_host = request.client.host if request.client else ""
        """The address that the request came from."""
        self.body_bytes = len(body)
        self.reply_metadata: list[tuple[str, str]] = []
        """Metadata of the replies so far."""
        self._body = body
        self._handler = handler
        self._deadline = deadline
        self._metadata = _metadata(request)
        self._peer_names: tuple[str, ...] = request.scope.get(PEER_NAMES, ())
        self._peer = f"http:{request.client.host}:{request.client.port}" if request.client else "http"

    @property
    def collection(self) -> str:
        """The collection in the path."""
        return self.path["collection"]

    async def fields(self) -> Fields:
        """The JSON object in the body; to be read once. Raises BadHttpRequest."""
        body, self._body = self._body, bytearray()  # may be large, and is not needed again
        return await self.aside(len(body), lambda: Fields.parse(body))

    async def call(self, method: str, request: Message | bytes) -> bytes:
        """Make a call and return its encoded reply, which is a success.

        Raises:
            ErrorReply: it carries an error.
            MishardsError: the handler ended the call without a reply.
        """
        encoded = request if isinstance(request, bytes) else request.SerializeToString()
        call = Call(method, encoded, self._metadata, self._deadline, self._peer, peer_names=self._peer_names)
        reply = await self._handler(call)
        self.reply_metadata += call.reply_metadata
        code, reason = status_of(method, reply)
        if code:
            raise ErrorReply(code, reason)
        return reply

    async def ask(self, method: str, request: Message) -> Any:
        """Make a call and return the message of its reply; raises as ``call`` does."""
        return METHODS[method].reply.FromString(await self.call(method, request))

    async def aside(self, size: int, work: Callable[[], T]) -> T:
        """Do ``work`` on ``size`` bytes: on a thread where it may take long."""
        return work() if size < _MUCH else await asyncio.to_thread(work)


def deadline_of(request: Request) -> Deadline:
    """Return the deadline that a request asks for.

    Raises:
        BadHttpRequest: a time that is none.
    """
    text = request.headers.get("grpc-timeout")
    if text is None:
        return Deadline.never()
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        message = f"Header 'Grpc-Timeout' must be a number and one of the units H, M, S, m, u, n, but is '{text}'."
        raise BadHttpRequest(RestCode.ILLEGAL_QUERY_PARAM, message)
    return Deadline.after(int(found[1]) * _UNITS_S[found[2]])


async def while_wanted(request: Request, deadline: Deadline, work: Awaitable[T]) -> T:
    """Do the work of a request whose body has been read; cancel it when nobody needs it any more.

    Raises:
        ClientDisconnect: the client went away.
        DeadlineExceeded: the deadline passed.
    """
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({doing, gone}, timeout=deadline.timeout(), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        if gone.done():
            raise ClientDisconnect
        raise DeadlineExceeded(f"deadline passed before {request.method} {request.url.path} was answered")
    finally:
        doing.cancel()
        gone.cancel()
        await asyncio.wait({doing, gone})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _metadata(request: Request) -> Metadata:
    found = ((name, request.headers.get(header)) for header, name in _METADATA.items())
    return tuple((name, value) for name, value in found if value is not None)
