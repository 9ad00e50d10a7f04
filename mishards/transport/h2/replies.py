"""The frames of a reply, written to an outbox: in one piece where that is possible, else as the peer takes them."""

from __future__ import annotations

from struct import Struct
from typing import Final

from mishards.errors import RpcStatus
from mishards.transport.h2 import frames
from mishards.transport.h2.frames import DATA, DEFAULT_MAX_FRAME
from mishards.transport.h2.grpc_fields import REPLY_ERROR, REPLY_HEAD, Answer, http_status_fields, status_fields
from mishards.transport.h2.message import PREFIX
from mishards.transport.h2.outbox import Outbox
from mishards.transport.h2.stream import Stream

_OK = status_fields(RpcStatus.OK, "")
_HEAD_START: Final = frames.header(len(REPLY_HEAD), frames.HEADERS, frames.END_HEADERS, 0)[:5]
_TRAILER_START: Final = frames.header(len(_OK), frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0)[:5]

_BEFORE: Final = Struct(f">5sI{len(REPLY_HEAD)}s HBBBI BI")
"""HEADERS of a reply, the header of its one DATA frame, the message's prefix."""
_DATA: Final = Struct(">HBBBI BI")
_TRAILER: Final = Struct(f">5sI{len(_OK)}s")


def write_reply(outbox: Outbox, stream: Stream, body: bytes, head: bytes = REPLY_HEAD) -> bool:
    """Write a reply whose header block is ``head``; return whether all of it is on its way."""
    stream_id, size = stream.id, len(body)
    length = size + PREFIX.size
    trailer = _TRAILER.pack(_TRAILER_START, stream_id, _OK)
    if outbox.takes(stream, length):
        data = length >> 8, length & 0xFF, DATA, 0, stream_id, 0, size
        if head is REPLY_HEAD:
            before = _BEFORE.pack(_HEAD_START, stream_id, head, *data)
        else:
            before = _header_frames(stream_id, head) + _DATA.pack(*data)
        outbox.write(before, body, trailer)
        return True
    outbox.write(_header_frames(stream_id, head))
    outbox.send(stream, PREFIX.pack(0, size), body, trailer)
    return False


def write_answer(outbox: Outbox, stream: Stream, answer: Answer, update: bytes, metadata: bytes) -> None:
    """Write a reply that is a status only; ``update`` is of the dynamic table, ``metadata`` are encoded fields."""
    if answer.http != 200:
        block, head = http_status_fields(answer.http), update
    else:
        block, head = status_fields(answer.status, answer.message), update + REPLY_ERROR
    if metadata:
        outbox.control(_header_frames(stream.id, head + metadata))
        outbox.control(_header_frames(stream.id, block, ended=True))
    else:
        outbox.control(_header_frames(stream.id, head + block, ended=True))


def _header_frames(stream_id: int, block: bytes, *, ended: bool = False) -> bytes:
    return frames.header_frames(stream_id, block, DEFAULT_MAX_FRAME, ended=ended)
