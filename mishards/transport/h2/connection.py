"""What both ends of a connection share: frames in, messages out, and the windows between.

Belongs to one event loop. What a stream means is left to ``serving`` and ``calling``.
"""

from __future__ import annotations

import asyncio

from mishards.transport.h2 import frames
from mishards.transport.h2.control import Controlled, S
from mishards.transport.h2.flow import Reservations
from mishards.transport.h2.frames import MAX_WINDOW, ConnectionFault, ErrorCode, Setting
from mishards.transport.h2.message import MessageFault
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.reader import FrameReader


class Connection(Controlled[S]):
    """One end of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: H2Options, stream_window: int) -> None:
        super().__init__(loop, options)
        self.max_message_bytes = -1
        self.reader = FrameReader(self, options.max_frame_bytes, options.max_header_bytes)
        self.stream_window = stream_window
        self._window = options.connection_window
        self._reservations = Reservations(options.receive_budget)

    # --- for the subclass to say ---

    def headers_arrived(self, stream_id: int, block: bytes, ended: bool) -> None:
        """A header block; it must be decoded whatever becomes of it."""
        raise NotImplementedError

    def stream_ended(self, stream: S) -> None:
        """The peer's side of a stream ended with DATA."""
        raise NotImplementedError

    def message_refused(self, stream: S, fault: MessageFault) -> None:
        """What comes on a stream is no message that can be taken."""
        raise NotImplementedError

    # --- frames ---

    def greet(self, values: dict[Setting, int]) -> bytes:
        """SETTINGS and the connection's window, the first that either end says."""
        values = {
            **values,
            Setting.INITIAL_WINDOW_SIZE: self.stream_window,
            Setting.MAX_FRAME_SIZE: self.options.max_frame_bytes,
            Setting.MAX_HEADER_LIST_SIZE: self.options.max_header_bytes,
        }
        increment = self.options.connection_window - frames.DEFAULT_WINDOW
        return frames.settings(values) + frames.window_update(0, increment)

    def take(self, data: bytes) -> None:
        self.reader.feed(data)
        if self.outbox.flooded:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers are provoked and not read")

    def data_arrived(self, stream_id: int, data: bytes, span: tuple[int, int], counted: int, ended: bool) -> None:
        if not self.greeted:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._window -= counted
        if self._window < self.options.connection_window >> 1:
            self._widen_connection()
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended:
            self._stray_data(stream_id, stream)
            return
        stream.receive_window -= counted
        if stream.receive_window < 0:
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
            return
        size = span[1] - span[0]
        if size:
            stream.received += size
            try:
                stream.message.take(data, span, self.max_message_bytes)
            except MessageFault as fault:
                self.message_refused(stream, fault)
                return
        elif not ended:
            self.nuisance()
        if ended:
            stream.ended = True
            self.stream_ended(stream)
        elif stream.receive_window < stream.message.missing:
            self._ask_for_more(stream)

    def forget(self, stream: S) -> None:
        super().forget(stream)
        if stream.large:
            for stream_id in self._reservations.release(stream.id):
                self._grant(self.streams[stream_id])

    # --- windows ---

    def _widen_connection(self) -> None:
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self.outbox.control(frames.window_update(0, self.options.connection_window - self._window))
        self._window = self.options.connection_window

    def _ask_for_more(self, stream: S) -> None:
        if not stream.large:
            stream.large = True
            admitted = self._reservations.ask(stream.id, stream.message.expected)
        else:
            admitted = self._reservations.holds(stream.id)
        if admitted:
            self._grant(stream)

    def _grant(self, stream: S) -> None:
        """Let the rest of a message come."""
        increment = min(stream.message.missing, MAX_WINDOW) - stream.receive_window
        if increment > 0 and stream.receive_window < MAX_WINDOW >> 1:
            stream.receive_window += increment
            self.outbox.control(frames.window_update(stream.id, increment))

    def _stray_data(self, stream_id: int, stream: S | None) -> None:
        if stream is not None:
            self.reset(stream, ErrorCode.STREAM_CLOSED)
        elif self.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"DATA on stream {stream_id}, which nobody has opened")
        else:
            self.stray()
            if not self.was_reset(stream_id):
                self.send_reset(stream_id, ErrorCode.STREAM_CLOSED)
