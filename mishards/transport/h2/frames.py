"""HTTP/2 frames: their numbers, the bytes of those that are sent, and the payload of SETTINGS (RFC 9113, section 6).

Pure.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final

from mishards.errors import MishardsError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

MAX_WINDOW: Final = (1 << 31) - 1
MAX_STREAM_ID: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_MAX_FRAME: Final = 16_384

HEADER: Final = Struct(">HBBBI")
"""Of every frame: 24 bits of length as 16 and 8, type, flags, stream."""

_U32: Final = Struct(">I")
_SETTING: Final = Struct(">HI")


class ErrorCode(enum.IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    """RFC 9113, section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(MishardsError):
    """The peer broke the protocol in a way that ends the connection with GOAWAY; never leaves the transport."""

    def __init__(self, error_code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The 9 bytes before a frame's payload."""
    return HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """The frame that ends a stream early."""
    return header(4, RST_STREAM, 0, stream_id) + _U32.pack(code)


def window_update(stream_id: int, increment: int) -> bytes:
    """The frame that lets the peer send ``increment`` bytes more; stream 0 is the connection."""
    return header(4, WINDOW_UPDATE, 0, stream_id) + _U32.pack(increment)


def ping(opaque: bytes, *, ack: bool) -> bytes:
    """A ping, or the answer to one; ``opaque`` is 8 bytes."""
    return header(8, PING, ACK if ack else 0, 0) + opaque


def goaway(last_stream_id: int, code: ErrorCode, message: str = "") -> bytes:
    """The frame that ends the connection once the streams up to ``last_stream_id`` are done."""
    text = message.encode("utf-8", "replace")[:256]
    return header(8 + len(text), GOAWAY, 0, 0) + _U32.pack(last_stream_id) + _U32.pack(code) + text


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return header(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = header(0, SETTINGS, ACK, 0)


def header_frames(stream_id: int, block: bytes, max_frame: int, *, ended: bool) -> bytes:
    """A header block as HEADERS and, where it is longer than a frame, CONTINUATION."""
    end_stream = END_STREAM if ended else 0
    if len(block) <= max_frame:
        return header(len(block), HEADERS, END_HEADERS | end_stream, stream_id) + block
    pieces = [block[start : start + max_frame] for start in range(0, len(block), max_frame)]
    parts = []
    for number, piece in enumerate(pieces):
        flags = (END_HEADERS if number == len(pieces) - 1 else 0) | (end_stream if not number else 0)
        parts += [header(len(piece), CONTINUATION if number else HEADERS, flags, stream_id), piece]
    return b"".join(parts)


def parsed_settings(payload: bytes) -> list[tuple[int, int]]:
    """The pairs of a SETTINGS payload, unknown ones included. Raises ConnectionFault."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a broken size")
    pairs: list[tuple[int, int]] = list(_SETTING.iter_unpack(payload))
    for key, value in pairs:
        if key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if key == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        if key == Setting.MAX_FRAME_SIZE and not DEFAULT_MAX_FRAME <= value < 1 << 24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
    return pairs


def u32(payload: bytes, start: int = 0) -> int:
    """The unsigned 32-bit number at ``start``."""
    number: int = _U32.unpack_from(payload, start)[0]
    return number
