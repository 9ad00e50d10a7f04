"""Cuts what arrives into frames (RFC 9113, section 4).

Pure: no I/O, no clock, no knowledge of streams. DATA is handed on as it comes, also in parts of a frame, so that a
large body is never gathered twice; all other frames are whole, header blocks are joined over CONTINUATION.
"""

from __future__ import annotations

from typing import Final

from mishards.transport.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADERS,
    MAX_STREAM_ID,
    PADDED,
    PRIORITY_FLAG,
    ConnectionFault,
    ErrorCode,
)

MAX_CONTINUATIONS: Final = 32
"""Frames that one header block may be spread over."""


_ONE_BLOCK: Final = END_HEADERS | PADDED | PRIORITY_FLAG
"""The flags that make HEADERS more than one whole header block, and the one that says it is."""


class FrameSink:
    """What the reader hands frames to. Any of its methods may raise ConnectionFault.

    A class and no Protocol: that of a class is called directly where it is compiled.
    """

    def data_arrived(self, stream_id: int, data: bytes, span: tuple[int, int], counted: int, ended: bool) -> None:
        """``data[span[0]:span[1]]`` of a stream's body; ``counted`` bytes of flow control, padding included."""
        raise NotImplementedError

    def headers_arrived(self, stream_id: int, block: bytes, ended: bool) -> None:
        """A whole header block."""
        raise NotImplementedError

    def control_arrived(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any other frame."""
        raise NotImplementedError


class FrameReader:
    """Cuts what arrives into frames. After a ConnectionFault it must not be fed again."""

    __slots__ = ("_block", "_block_flags", "_block_frames", "_block_stream", "_limits", "_open", "_sink", "_tail")

    def __init__(self, sink: FrameSink, max_frame: int, max_block: int) -> None:
        """``max_frame``: the SETTINGS_MAX_FRAME_SIZE in force; ``max_block``: bytes of one header block."""
        self._sink = sink
        self._limits = max_frame, max_block
        self._tail = b""
        self._open: tuple[int, int, int] | None = None  # stream, flags and bytes to come of a DATA frame
        self._block: bytearray | None = None
        self._block_stream = self._block_flags = self._block_frames = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket. Raises ConnectionFault."""
        position = 0
        if self._open is not None:
            position = self._rest_of_data(data)
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        max_frame, max_block = self._limits
        end = len(data)
        unpack, size = HEADER.unpack_from, HEADER.size
        while end - position >= size:
            high, low, kind, flags, stream_id = unpack(data, position)
            length = high << 8 | low
            if length > max_frame:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes; {max_frame} is the most")
            start = position + size
            stop = start + length
            stream_id &= MAX_STREAM_ID
            if kind == DATA and not flags & PADDED and self._block is None:
                if stop > end:
                    self._first_of_data(stream_id, flags, data, start, stop)
                    return
                if not stream_id:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
                self._sink.data_arrived(stream_id, data, (start, stop), length, bool(flags & END_STREAM))
            elif stop > end:
                break
            elif kind == HEADERS and flags & _ONE_BLOCK == END_HEADERS and stream_id and self._block is None:
                if length > max_block:
                    self._check_block(length)
                self._sink.headers_arrived(stream_id, data[start:stop], bool(flags & END_STREAM))
            else:
                self._whole(kind, flags, stream_id, data[start:stop])
            position = stop
        if position < end:
            self._tail = data[position:]

    def _first_of_data(self, stream_id: int, flags: int, data: bytes, start: int, stop: int) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        end = len(data)
        self._open = stream_id, flags, stop - end
        if end > start:
            self._sink.data_arrived(stream_id, data, (start, end), end - start, False)

    def _rest_of_data(self, data: bytes) -> int:
        """Hand on what belongs to the DATA frame under way; return where the next frame begins."""
        stream_id, flags, left = self._open or (0, 0, 0)
        stop = min(left, len(data))
        if stop < left:
            self._open = stream_id, flags, left - stop
            ended = False
        else:
            self._open = None
            ended = bool(flags & END_STREAM)
        if stop:
            self._sink.data_arrived(stream_id, data, (0, stop), stop, ended)
        return stop

    def _whole(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None:
            if kind != CONTINUATION or stream_id != self._block_stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted by another frame")
            self._continue_block(flags, payload)
        elif kind == HEADERS:
            self._begin_block(flags, stream_id, payload)
        elif kind == CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block")
        elif kind == DATA:
            self._padded_data(flags, stream_id, payload)
        else:
            self._sink.control_arrived(kind, flags, stream_id, payload)

    def _padded_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        span = _unpadded(payload)
        self._sink.data_arrived(stream_id, payload, span, len(payload), bool(flags & END_STREAM))

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (PADDED | PRIORITY_FLAG):
            start, stop = _unpadded(payload) if flags & PADDED else (0, len(payload))
            if flags & PRIORITY_FLAG:
                start += 5
            if start > stop:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its flags")
            payload = payload[start:stop]
        if flags & END_HEADERS:
            self._check_block(len(payload))
            self._sink.headers_arrived(stream_id, payload, bool(flags & END_STREAM))
            return
        self._block, self._block_stream, self._block_flags, self._block_frames = bytearray(), stream_id, flags, 0
        self._continue_block(0, payload)

    def _continue_block(self, flags: int, payload: bytes) -> None:
        block = self._block or bytearray()
        block += payload
        self._block = block
        self._block_frames += 1
        self._check_block(len(block))
        if self._block_frames > MAX_CONTINUATIONS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block in too many frames")
        if flags & END_HEADERS:
            self._block = None
            self._sink.headers_arrived(self._block_stream, bytes(block), bool(self._block_flags & END_STREAM))

    def _check_block(self, size: int) -> None:
        if size > self._limits[1]:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header block of more than {self._limits[1]} bytes")


def _unpadded(payload: bytes) -> tuple[int, int]:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return 1, len(payload) - payload[0]
