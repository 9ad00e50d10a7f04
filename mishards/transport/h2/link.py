"""A connection as a socket: opening, writing, pausing, closing in bounded time, and its timers.

Belongs to one event loop. Knows no frames but the GOAWAY with which it ends what broke the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, cast

from mishards.transport.h2 import frames
from mishards.transport.h2.frames import ConnectionFault
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.outbox import Outbox
from mishards.transport.h2.reader import FrameSink
from mishards.transport.h2.stream import Stream

log = logging.getLogger(__name__)

_LINGER_S: Final = 5.0
"""How long a closed connection may take to be rid of its last bytes."""

_LAST_WORDS_S: Final = 1.0
"""How long a peer has to read what was written before the end, and to close."""

_TCP_KEEPALIVE: Final = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
"""So that a peer whose machine is gone is noticed without a word of HTTP/2."""


class Link(FrameSink):
    """The socket's side of a connection; a subclass gives meaning to what comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: H2Options) -> None:
        self.loop = loop
        self.options = options
        self.outbox = Outbox(loop, self.message_sent)
        self.transport: asyncio.Transport | None = None
        self.closed = False
        """Is nothing taken from the peer any more?"""
        self.reads = 0
        """How often something came."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # --- for the subclass to say ---

    def opened(self) -> None:
        """The connection stands."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Bytes came. Raises ConnectionFault."""
        raise NotImplementedError

    def all_broken(self, reason: str) -> None:
        """Nothing comes any more: end what was under way. Called once."""
        raise NotImplementedError

    def message_sent(self, stream: Stream) -> None:
        """The last of a message that had to wait was written."""

    def last_peer_stream(self) -> int:
        """The newest stream of the peer's making that was looked at."""
        return 0

    # --- called by the event loop ---

    def protocol(self) -> asyncio.Protocol:
        """Itself, as the event loop takes it: it has the methods of a protocol without being derived from one."""
        return cast("asyncio.Protocol", self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.outbox.connect(self.transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.close("the peer did not agree on HTTP/2 when TLS began")
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            for option in _TCP_KEEPALIVE:
                sock.setsockopt(*option)
        self.opened()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.reads += 1
        try:
            self.take(data)
        except ConnectionFault as fault:
            log.info("connection ended with %s: %s", fault.error_code.name, fault)
            self.outbox.write(frames.goaway(self.last_peer_stream(), fault.error_code, str(fault)))
            self.part(f"it broke the protocol: {fault}")

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.outbox.disconnect()
        if self.transport is not None:
            self.transport.close()  # Python 3.10 holds TLS that the peer ended for open until then
            self.transport = None
        self._end(f"the connection broke: {exc}" if exc else "the connection was closed")

    def eof_received(self) -> bool:
        """The peer says no more: the event loop closes the connection."""
        return False

    def pause_writing(self) -> None:
        self.outbox.pause()
        self.after(self.options.stall_timeout_s, "stall", lambda: self.abort("it reads nothing of what is sent to it"))

    def resume_writing(self) -> None:
        self.call_off("stall")
        self.outbox.resume()

    # --- ending ---

    def close(self, reason: str) -> None:
        """Write what is ready, then close."""
        self.outbox.flush()
        self._end(reason)
        if self.transport is not None:
            self.transport.close()
            self.after(_LINGER_S, "linger", lambda: self.abort(reason))

    def part(self, reason: str) -> None:
        """Write what is ready and close, but read on until the peer closes too, for a while.

        Bytes that nobody reads would make the kernel drop what is still on its way to the peer.
        """
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            self.close(reason)
            return
        self.outbox.flush()
        self._end(reason)
        try:
            transport.write_eof()
        except OSError:  # the peer has gone already
            transport.abort()
            return
        self.after(_LAST_WORDS_S, "linger", lambda: self.abort(reason))

    def abort(self, reason: str) -> None:
        """Close without a further word."""
        self._end(reason)
        if self.transport is not None:
            self.transport.abort()

    def _end(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.all_broken(reason)

    # --- timers ---

    def after(self, delay_s: float, name: str, action: Callable[[], None]) -> None:
        """Call ``action`` once; it replaces a timer of the same name, and none outlives the connection."""
        self.call_off(name)
        self._timers[name] = self.loop.call_later(delay_s, action)

    def call_off(self, name: str) -> None:
        """Let the timer of that name not fire."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
