"""The frames by which two ends steer a connection: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY.

Belongs to one event loop. Each is checked as RFC 9113, section 6, asks, and counted where it is of no use.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

from mishards.transport.h2 import frames
from mishards.transport.h2.flow import Allowance
from mishards.transport.h2.frames import ACK, MAX_STREAM_ID, ConnectionFault, ErrorCode, Setting, u32
from mishards.transport.h2.headers import EMPTY_TABLE
from mishards.transport.h2.link import Link
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.stream import Stream

S = TypeVar("S", bound=Stream)

_NUISANCES: Final = 5_000.0
_NUISANCES_PER_S: Final = 1_000.0
"""Frames of no use that are put up with: far more than any client has a reason to send."""
_REMEMBERED_RESETS: Final = 256
_DEFAULT_TABLE_BYTES: Final = 4096


class Controlled(Link, Generic[S]):
    """A connection whose peer's control frames are obeyed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: H2Options) -> None:
        super().__init__(loop, options)
        self.streams: dict[int, S] = {}
        self.greeted = False
        """Has the peer sent its SETTINGS?"""
        self.table_update = b""
        """To be put before the next header block that is sent."""
        self._table_emptied = False
        self._allowance = Allowance(_NUISANCES, _NUISANCES_PER_S, loop.time())
        self._resets: deque[int] = deque(maxlen=_REMEMBERED_RESETS)
        self._controls = {
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
        }

    # --- for the subclass to say ---

    def is_idle(self, stream_id: int) -> bool:
        """Is this a stream that nobody has opened yet?"""
        raise NotImplementedError

    def stream_broken(self, stream: S, code: int, *, by_peer: bool) -> None:
        """A stream, already forgotten, was reset."""
        raise NotImplementedError

    def goaway_arrived(self, last_stream_id: int, code: int, text: str) -> None:
        """The peer takes no further streams."""

    def ping_answered(self, opaque: bytes) -> None:
        """The peer answered a ping."""

    def settings_changed(self, values: dict[int, int]) -> None:
        """The peer's SETTINGS came; windows and frame sizes are in force already."""

    # --- streams ---

    def forget(self, stream: S) -> None:
        """The stream is over: free what it holds."""
        del self.streams[stream.id]
        self.outbox.drop(stream)

    def reset(self, stream: S, code: ErrorCode) -> None:
        """End a stream with RST_STREAM."""
        self.send_reset(stream.id, code)
        self.forget(stream)
        self.stream_broken(stream, code, by_peer=False)

    def send_reset(self, stream_id: int, code: ErrorCode) -> None:
        """Say that a stream is over, and do not mind what is still on its way."""
        self._resets.append(stream_id)
        self.outbox.control(frames.rst_stream(stream_id, code))

    def was_reset(self, stream_id: int) -> bool:
        """Was it reset by this end, not long ago?"""
        return stream_id in self._resets

    def earn(self) -> None:
        """A call came to its end."""
        self._allowance.earn()

    def nuisance(self) -> None:
        """Count a frame of no use. Raises ConnectionFault when they are too many."""
        if not self._allowance.spend(self.loop.time()):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames of no use")

    def stray(self) -> None:
        """Count a frame of a stream that is over."""
        self.nuisance()

    # --- frames ---

    def control_arrived(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any frame but DATA and header blocks. Raises ConnectionFault."""
        if not self.greeted and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        control = self._controls.get(kind)
        if control is None:
            self.nuisance()  # of a kind that is not known: to be ignored
        else:
            control(flags, stream_id, payload)

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check(stream_id != 0, "PRIORITY on stream 0")
        _check_size(len(payload) == 5, "PRIORITY")
        self.nuisance()

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check(stream_id != 0, "RST_STREAM on stream 0")
        _check_size(len(payload) == 4, "RST_STREAM")
        _check(not self.is_idle(stream_id), "RST_STREAM on a stream that nobody has opened")
        self.nuisance()
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.forget(stream)
            self.stream_broken(stream, u32(payload), by_peer=True)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check(stream_id == 0, "SETTINGS on a stream")
        if flags & ACK:
            _check_size(not payload, "the answer to SETTINGS")
            _check(self.greeted, "SETTINGS answered before they were sent")
            return
        if self.greeted:
            self.nuisance()
        values = dict(frames.parsed_settings(payload))
        self._obey(values)
        self.outbox.control(frames.SETTINGS_ACK)
        self.greeted = True
        self.settings_changed(values)

    def _obey(self, values: dict[int, int]) -> None:
        outbox = self.outbox
        outbox.max_frame = values.get(Setting.MAX_FRAME_SIZE, outbox.max_frame)
        window = values.get(Setting.INITIAL_WINDOW_SIZE, outbox.initial_window)
        change, outbox.initial_window = window - outbox.initial_window, window
        if change:
            for stream in self.streams.values():
                if not outbox.widen_stream(stream, change):
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large")
        if (
            values.get(Setting.HEADER_TABLE_SIZE, _DEFAULT_TABLE_BYTES) < _DEFAULT_TABLE_BYTES
            and not self._table_emptied
        ):
            self._table_emptied = True
            self.table_update = EMPTY_TABLE

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which was not allowed")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check(stream_id == 0, "PING on a stream")
        _check_size(len(payload) == 8, "PING")
        if flags & ACK:
            self.ping_answered(payload)
        else:
            self.nuisance()
            self.outbox.control(frames.ping(payload, ack=True))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check(stream_id == 0, "GOAWAY on a stream")
        _check_size(len(payload) >= 8, "GOAWAY")
        self.nuisance()
        self.goaway_arrived(u32(payload) & MAX_STREAM_ID, u32(payload, 4), payload[8:].decode("utf-8", "replace"))

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(len(payload) == 4, "WINDOW_UPDATE")
        increment = u32(payload) & frames.MAX_WINDOW
        if not stream_id:
            _check(increment != 0, "WINDOW_UPDATE of 0")
            if not self.outbox.widen(increment):
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            _check(not self.is_idle(stream_id), "WINDOW_UPDATE on a stream that nobody has opened")
        elif not increment:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        elif not self.outbox.widen_stream(stream, increment):
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)


def _check(holds: bool, offence: str) -> None:
    if not holds:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, offence)


def _check_size(holds: bool, what: str) -> None:
    if not holds:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{what} of a wrong size")
