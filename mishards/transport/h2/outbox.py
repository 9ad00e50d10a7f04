"""Everything that one connection writes: coalesced once a loop turn, within the peer's windows, as fast as it reads.

What is ready goes out in the order in which it was given. Messages that do not fit the windows or the socket wait, and
take turns. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from mishards.transport.h2.frames import (
    DATA,
    DEFAULT_MAX_FRAME,
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    header,
)
from mishards.transport.h2.stream import Stream

TURN_BYTES: Final = 128 << 10
"""A message that waits sends so much before the next one has its turn."""

MAX_PROVOKED_BYTES: Final = 1 << 20
"""Of answers to a peer that does not read them."""


class Outbox:
    """The write side of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sent: Callable[[Stream], None]) -> None:
        """``sent`` is called when the last of a message that had to wait was written."""
        self._loop = loop
        self._sent = sent
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes | memoryview] = []
        self._scheduled = False
        self._queue: deque[Stream] = deque()
        self._provoked_bytes = 0
        self.paused = False
        self.flushes = 0
        """How often all that had been given until then was handed to the socket."""
        self.window = DEFAULT_WINDOW
        self.max_frame = DEFAULT_MAX_FRAME
        self.initial_window = DEFAULT_WINDOW

    def connect(self, transport: asyncio.Transport) -> None:
        """Write here from now on."""
        self._transport = transport

    def disconnect(self) -> None:
        """Forget what waits; write nothing any more."""
        self._transport = None
        self._chunks.clear()
        self._queue.clear()

    @property
    def idle(self) -> bool:
        """Is nothing waiting to be written?"""
        return not (self._chunks or self._queue or self.paused)

    # --- giving ---

    def write(self, *frames: bytes) -> None:
        """Write whole frames, given in pieces, with the others of this turn of the loop."""
        self._chunks += frames
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_scheduled)

    def control(self, frames: bytes) -> None:
        """Write an answer that a peer provoked; too many of them while it reads nothing are a flood."""
        if self.paused:
            self._provoked_bytes += len(frames)
        self.write(frames)

    @property
    def flooded(self) -> bool:
        """Has the peer provoked more answers than it reads?"""
        return self._provoked_bytes > MAX_PROVOKED_BYTES

    def takes(self, stream: Stream, size: int) -> bool:
        """May ``size`` bytes of DATA be written at once, in one frame? If so, they count as sent."""
        if size > self.max_frame or size > self.window or size > stream.send_window or self.paused or self._queue:
            return False
        self.window -= size
        return True

    def send(self, stream: Stream, prefix: bytes, message: bytes, trailer: bytes) -> None:
        """Write prefix and message in DATA frames as the peer takes them, then ``trailer``.

        Without a trailer the last DATA frame ends the stream.
        """
        stream.prefix = prefix
        stream.outgoing = memoryview(message)
        stream.trailer = trailer
        self._enqueue(stream)

    def drop(self, stream: Stream) -> None:
        """Send no more of a stream."""
        stream.outgoing = None

    # --- what the peer allows ---

    def widen(self, increment: int) -> bool:
        """WINDOW_UPDATE of the connection; False when it is none that a peer may send."""
        self.window += increment
        if not increment or self.window > MAX_WINDOW:
            return False
        self._schedule_pump()
        return True

    def widen_stream(self, stream: Stream, increment: int) -> bool:
        """WINDOW_UPDATE of a stream; False when it is none that a peer may send. A new initial window may shrink it."""
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            return False
        if stream.outgoing is not None and stream.send_window > 0:
            self._enqueue(stream)
        return True

    def pause(self) -> None:
        """The socket takes no more for now."""
        self.paused = True

    def resume(self) -> None:
        """The socket takes more."""
        self.paused = False
        self._provoked_bytes = 0
        self._schedule_pump()

    # --- writing ---

    def flush(self) -> None:
        """Write now what was given, and a turn of each message that waits."""
        if self._transport is None:
            return
        if self._queue and not self.paused:
            self._pump()
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            self.flushes += 1
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self._queue and not self.paused and self.window > 0:
            self._schedule_pump()

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    def _schedule_pump(self) -> None:
        if (self._queue or self._chunks) and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_scheduled)

    def _enqueue(self, stream: Stream) -> None:
        if not stream.queued:
            stream.queued = True
            self._queue.append(stream)
        self._schedule_pump()

    def _pump(self) -> None:
        """One round: each stream that waits has a turn."""
        for _ in range(len(self._queue)):
            if self.window <= 0:
                return
            stream = self._queue.popleft()
            stream.queued = False
            if stream.outgoing is not None:
                self._turn(stream, stream.outgoing)

    def _turn(self, stream: Stream, message: memoryview) -> None:
        allowed = min(self.window, stream.send_window, TURN_BYTES)
        if allowed <= 0:
            return  # WINDOW_UPDATE puts it back into the queue
        prefix, stream.prefix = stream.prefix[:allowed], stream.prefix[allowed:]
        now = message[: allowed - len(prefix)]
        stream.outgoing = message[len(now) :]
        done = not stream.prefix and not stream.outgoing
        sent = len(prefix) + len(now)
        self.window -= sent
        stream.send_window -= sent
        pieces: list[bytes | memoryview] = []
        for part in (prefix, now):
            for start in range(0, len(part), self.max_frame):
                piece = part[start : start + self.max_frame]
                pieces += (header(len(piece), DATA, 0, stream.id), piece)
        if done and stream.trailer:
            pieces.append(stream.trailer)
        elif done:
            pieces[-2] = header(len(pieces[-1]), DATA, END_STREAM, stream.id)
        self._chunks += pieces
        if done:
            stream.outgoing = None
            self._sent(stream)
        elif stream.send_window > 0:
            stream.queued = True
            self._queue.append(stream)
