"""An HTTP server on the running event loop, for an application of this package."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mishards.errors import StartError
from mishards.rest.guarded import PEER_NAMES
from mishards.security.tls import names_of

_MAX_HEADERS_BYTES = 128 << 10
"""Request line and headers; a thousand ids in a query take 20 kB."""
_KEEP_ALIVE_S = 75
"""Longer than clients keep a connection that they do not use, so that it is they who close it."""
_TEARDOWN_S = 5.0
_MIN_GRACE_S = 0.1
"""What closing takes when nothing is under way; with less, the library would complain about what it has to cancel."""


class HttpServer:
    """Serves one application at one address. All methods belong to one event loop."""

    def __init__(self, app: ASGIApp, address: str, tls: ssl.SSLContext | None = None) -> None:
        """Nothing listens yet; ``address`` is ``host:port``, where port 0 is any free one."""
        self._address = address
        config = uvicorn.Config(
            app,
            http="h11" if tls is None else _NamedPeers,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            h11_max_incomplete_event_size=_MAX_HEADERS_BYTES,
        )
        config.load()
        config.ssl = tls
        self._server = uvicorn.Server(config)
        # Signals belong to the program, not to one of its servers.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # same shape
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the bound ``host:port``. Raises StartError when the address cannot be had."""
        listener = _listen(self._address)
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]), name="http")
        host, port = listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, let those under way end within ``grace_s`` seconds, cancel the rest. May be repeated."""
        if self._task is None:
            return
        self._server.config.timeout_graceful_shutdown = max(grace_s, _MIN_GRACE_S)  # type: ignore[assignment]  # goes to asyncio.wait_for
        self._server.should_exit = True
        await asyncio.wait([self._task], timeout=grace_s + _TEARDOWN_S)


class _NamedPeers(H11Protocol):
    """Puts the names in a client's certificate beside its requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the library
        super().connection_made(transport)
        names, app = names_of(transport.get_extra_info("peercert")), self.app

        async def named(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, PEER_NAMES: names}, receive, send)

        self.app = named


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise _cannot_listen(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(128)
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(address, error) from error
    return listener


def _cannot_listen(address: str, error: Exception) -> StartError:
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    return StartError(f"cannot listen on {address} for HTTP: {reason}")
