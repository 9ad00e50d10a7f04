"""A transport whose channels show a token with every call."""

from __future__ import annotations

from mishards.deadline import Deadline
from mishards.transport.api import (
    Channel,
    GiveUp,
    Handler,
    Metadata,
    Outcome,
    Server,
    ServerOptions,
    Transport,
    begin_on,
)


class BearerTransport:
    """Another transport, and a token on its way out; servers are as they were."""

    def __init__(self, transport: Transport, token: str) -> None:
        self._transport = transport
        self._shown = (("authorization", f"Bearer {token}"),)

    def server(self, handler: Handler, options: ServerOptions) -> Server:
        """A server that is not listening yet."""
        return self._transport.server(handler, options)

    def channel(self, address: str) -> Channel:
        """A channel that has not connected yet."""
        return _BearerChannel(self._transport.channel(address), self._shown)


class _BearerChannel:
    def __init__(self, channel: Channel, shown: Metadata) -> None:
        self._channel = channel
        self._shown = tuple(shown)

    @property
    def address(self) -> str:
        return self._channel.address

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        return await self._channel.call(method, request, deadline=deadline, metadata=(*metadata, *self._shown))

    def begin(
        self, method: str, request: bytes, outcome: Outcome, *, deadline: Deadline, metadata: Metadata = ()
    ) -> GiveUp | None:
        begin, metadata = begin_on(self._channel), (*metadata, *self._shown)
        return begin(method, request, outcome, deadline=deadline, metadata=metadata) if begin else None

    async def close(self) -> None:
        await self._channel.close()
