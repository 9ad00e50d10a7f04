"""The listening server of the seam."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mishards.deadline import Deadline
from mishards.transport.api import Handler, ServerOptions
from mishards.transport.h2.handling import ServedStream, Service
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.serving import ServedConnection
from mishards.transport.h2.sockets import listen, remove_socket
from mishards.transport.h2.timers import Deadlines

_UNWIND_S: Final = 2.0
"""For cancelled handlers and closed connections to end, after the grace."""
_POLL_S: Final = 0.01


class H2Server:
    """Serves a handler; a ``Server`` of the seam."""

    def __init__(self, handler: Handler, options: ServerOptions, h2: H2Options) -> None:
        self._handler = handler
        self._options = options
        self._h2 = h2
        self._listening: list[asyncio.AbstractServer] = []
        self._service: Service | None = None

    async def start(self) -> str:
        """Listen; return the bound address. Raises StartError."""
        options, loop = self._options, asyncio.get_running_loop()
        deadlines: Deadlines[ServedStream] = Deadlines(loop, lambda stream: stream.connection.expired(stream))
        service = self._service = Service(
            loop, self._handler, self._h2, options.max_message_bytes, options.max_concurrent_calls, deadlines
        )
        if self._h2.server_tls is not None:
            self._h2.server_tls.set_alpn_protocols(["h2"])
        self._listening, address = await listen(
            options.address,
            lambda: ServedConnection(service).protocol(),
            self._h2.server_tls,
            reuse_port=options.reuse_port,
        )
        return address

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those under way end within ``grace_s`` seconds, cancel the rest. May be repeated."""
        service = self._service
        if service is None:
            return
        if self._listening:
            for listening in self._listening:
                listening.close()
            self._listening = []
            remove_socket(self._options.address)
        service.stopping = True
        if grace_s > 0:
            for connection in list(service.connections):
                connection.drain()
            await self._until(lambda: not service.connections and not service.running, grace_s)
        for connection in list(service.connections):
            connection.cut()
        await self._until(lambda: not service.connections and not service.running, _UNWIND_S)
        for connection in list(service.connections):
            connection.abort("the server has stopped")
        service.deadlines.close()

    @staticmethod
    async def _until(condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = Deadline.after(timeout_s)
        while not condition() and deadline.remaining():  # noqa: ASYNC110 - the fast path keeps plain counters, no event
            await asyncio.sleep(_POLL_S)
