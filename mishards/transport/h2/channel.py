"""The calling side of the seam: one connection to one address, made when it is needed and made again when it broke."""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextvars import Context
from functools import partial

from mishards.deadline import Deadline
from mishards.errors import NodeTimeout, NodeUnavailable
from mishards.transport.api import GiveUp, Metadata, Outcome, settling
from mishards.transport.h2.calling import CallingConnection, CallStream
from mishards.transport.h2.grpc_fields import request_fields, timeout_field
from mishards.transport.h2.headers import text_fields
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.sockets import UNIX, host_and_port, unix_path
from mishards.transport.h2.timers import Deadlines


class H2Channel:
    """Calls one address; a ``Channel`` of the seam."""

    def __init__(self, address: str, options: H2Options) -> None:
        self._address = address
        self._options = options
        self._authority = "localhost" if address.startswith(UNIX) else address
        self._heads: dict[str, bytes] = {}
        self._connection: CallingConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connections: set[CallingConnection] = set()
        self._deadlines: Deadlines[CallStream] | None = None
        self._failures = 0
        self._retry_at = -math.inf
        self._failure = ""
        self._closed = False

    @property
    def address(self) -> str:
        """The ``host:port`` it was made for."""
        return self._address

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """Send one unary call and return the encoded reply; raises as ``Channel.call`` of the seam says."""
        connection = self._connection
        if connection is None or not connection.usable or connection.full:
            connection = await self._usable(deadline)
        block = self._block(method, deadline, metadata)
        reply: asyncio.Future[bytes] = connection.loop.create_future()
        stream = connection.begin(block, request, deadline, settling(reply))
        try:
            return await reply
        except asyncio.CancelledError:
            stream.give_up()
            raise

    def begin(
        self, method: str, request: bytes, outcome: Outcome, *, deadline: Deadline, metadata: Metadata = ()
    ) -> GiveUp | None:
        """Send a call where there is a connection with room for it; as ``Channel.begin`` of the seam says."""
        connection = self._connection
        if connection is None or not connection.usable or connection.full or deadline.at <= time.monotonic():
            return None
        return connection.begin(self._block(method, deadline, metadata), request, deadline, outcome).give_up

    def _block(self, method: str, deadline: Deadline, metadata: Metadata) -> bytes:
        remaining = deadline.at - time.monotonic()
        if remaining <= 0:
            raise NodeTimeout(self._address, "the deadline passed before it was asked", sent=False)
        block = self._heads.get(method)
        if block is None:
            block = request_fields(method, self._authority, tls=self._options.client_tls is not None)
            self._heads[method] = block
        if remaining != math.inf:
            block += timeout_field(remaining)
        return block + text_fields(metadata) if metadata else block

    async def close(self) -> None:
        """Close; calls under way fail with NodeUnavailable. May be repeated."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._connections):
            connection.leave("the channel was closed")
        if self._deadlines is not None:
            self._deadlines.close()

    # --- the connection ---

    async def _usable(self, deadline: Deadline) -> CallingConnection:
        """A connection on which a call may be made now. Raises NodeUnavailable and NodeTimeout, with nothing sent."""
        while True:
            if self._closed:
                raise NodeUnavailable(self._address, "the channel is closed", sent=False)
            if not deadline.remaining():
                raise NodeTimeout(self._address, "the deadline passed before it could be asked", sent=False)
            connection = self._connection
            if connection is None or not connection.usable:
                await self._connected(deadline)
            elif connection.full:
                await connection.slot(deadline)
            else:
                return connection

    async def _connected(self, deadline: Deadline) -> None:
        """Wait for the attempt to connect that is under way, or begin one."""
        attempt = self._connecting
        if attempt is None:
            if time.monotonic() < self._retry_at:
                raise NodeUnavailable(self._address, f"{self._failure}; it is tried again soon", sent=False)
            create = partial(asyncio.get_running_loop().create_task, name=f"connect-{self._address}")
            # In a context of its own: the connection outlives the call that happens to need it.
            attempt = self._connecting = Context().run(create, self._connect())
        await asyncio.wait((attempt,), timeout=deadline.timeout())
        if attempt.done() and not attempt.cancelled():
            attempt.result()

    async def _connect(self) -> None:
        """Make a connection, up to the peer's SETTINGS. Raises NodeUnavailable."""
        timeout_s = self._options.connect_timeout_s
        try:
            self._connection = await asyncio.wait_for(self._greeted(), timeout_s)
        except asyncio.TimeoutError:
            raise self._failed(f"failed to connect within {timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            raise self._failed(f"failed to connect: {error}") from error
        finally:
            self._connecting = None

    async def _greeted(self) -> CallingConnection:
        connection = await self._opened()
        self._connections.add(connection)
        try:
            await connection.ready
        except BaseException:
            connection.abort("no connection of HTTP/2 came about")
            raise
        return connection

    async def _opened(self) -> CallingConnection:
        loop, tls = asyncio.get_running_loop(), self._options.client_tls
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        if self._deadlines is None:
            self._deadlines = Deadlines(loop, lambda stream: stream.connection.expired(stream))
        connection = CallingConnection(self._address, self._options, self._deadlines, self._lost)
        if self._address.startswith(UNIX):
            path, name = str(unix_path(self._address)), "localhost" if tls else None
            await loop.create_unix_connection(connection.protocol, path, ssl=tls, server_hostname=name)
        else:
            host, port = host_and_port(self._address)
            name = (self._options.server_name or None) if tls else None
            await loop.create_connection(connection.protocol, host, port, ssl=tls, server_hostname=name)
        return connection

    def _failed(self, message: str) -> NodeUnavailable:
        """Count a failure; the next attempt waits the longer the more there were, by a random part."""
        options = self._options
        most = min(options.backoff_max_s, options.backoff_min_s * 2 ** min(self._failures, 16))
        self._failures += 1
        self._failure = message
        self._retry_at = time.monotonic() + most * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        return NodeUnavailable(self._address, message, sent=False)

    def _lost(self, connection: CallingConnection) -> None:
        """A connection ended; one that never served is a failed attempt."""
        self._connections.discard(connection)
        if connection is not self._connection:
            return
        self._connection = None
        if connection.replies:
            self._failures, self._retry_at = 0, -math.inf
        else:
            self._failed("the last connection broke before it was of use")
