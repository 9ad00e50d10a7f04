"""Walking over an encoded protobuf message without parsing it.

Knows the wire format (https://protobuf.dev/programming-guides/encoding/) and no message. It is as strict as protobuf
itself, with two exceptions: groups (wire types 3 and 4) are refused, since no proto3 encoder writes them, and so are
messages of more than a million runs, since time spent here is time of the event loop.

A *run* is a field that repeats with the same tag and length, record after record: a thousand equally long query
vectors are one run, found by a few numpy operations however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5

_FEW: Final = 16  # records; below this a Python loop beats numpy's set-up
_MAX_RUNS: Final = 1 << 20
"""No client writes as many fields that are not alike; stepping over that many takes about a second."""
_MAX_TAG: Final = 0xFFFFFFFF
_UINT64: Final = 0xFFFFFFFFFFFFFFFF


class Truncated(ValueError):
    """The bytes end inside a field, or are no protobuf message. Callers turn it into an error of their own."""


class Run(NamedTuple):
    """``records`` records of one field, one behind the other, all of the same shape.

    ``start`` is the offset of the first value, ``size`` the bytes of one value, ``stride`` the bytes from one value
    to the next; ``begin`` and ``end`` enclose the whole run, tags included.
    """

    number: int
    wire_type: int
    begin: int
    start: int
    size: int
    stride: int
    records: int

    @property
    def end(self) -> int:
        """Offset behind the last value."""
        return self.begin + self.stride * self.records

    def starts(self) -> range:
        """Offset of each value."""
        return range(self.start, self.start + self.stride * self.records, self.stride)


def varint_bytes(value: int) -> bytes:
    """Encode a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(buffer: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the unsigned number at ``position``, its lowest 64 bits, and the offset behind it.

    Raises:
        Truncated: the number does not end before ``end`` or within ten bytes.
    """
    value = shift = 0
    for at in range(position, min(end, position + 10)):
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _UINT64, at + 1
        shift += 7
    raise Truncated(f"bad varint at byte {position}")


def runs(buffer: bytes, begin: int, end: int) -> Iterator[Run]:
    """Yield the fields of the message in ``buffer[begin:end]`` in the order they stand there.

    Raises:
        Truncated: the bytes are no protobuf message.
    """
    for _ in range(_MAX_RUNS):
        if begin >= end:
            return
        tag, start = (buffer[begin], begin + 1) if buffer[begin] < 0x80 else read_varint(buffer, begin, end)
        number, wire_type = tag >> 3, tag & 7
        if not number or tag > _MAX_TAG:
            raise Truncated(f"bad field number at byte {begin}")
        if wire_type == LENGTH_DELIMITED:
            if start < end and buffer[start] < 0x80:
                size, start = buffer[start], start + 1
            else:
                size, start = read_varint(buffer, start, end)
            stop = start + size
        elif wire_type == VARINT:
            stop = read_varint(buffer, start, end)[1]
        elif wire_type in (FIXED32, FIXED64):
            stop = start + (4 if wire_type == FIXED32 else 8)
        else:
            raise Truncated(f"wire type {wire_type} at byte {begin} is not supported")
        if stop > end:
            raise Truncated(f"field {number} at byte {begin} ends {stop - end} bytes behind the message")
        count = 1
        if wire_type == LENGTH_DELIMITED and buffer.startswith(buffer[begin:start], stop, end):
            count = _repeats(buffer, begin, start, stop, end)
        yield Run(number, wire_type, begin, start, stop - start, stop - begin, count)
        begin += (stop - begin) * count
    if begin < end:
        raise Truncated(f"more than {_MAX_RUNS} fields that are not alike")


def _repeats(buffer: bytes, begin: int, start: int, stop: int, end: int) -> int:
    """Count the record ``buffer[begin:stop]`` and those behind it that begin with the same tag and length."""
    header, stride = buffer[begin:start], stop - begin
    fitting = (end - begin) // stride
    few = min(fitting, _FEW)
    count = 1
    while count < few and buffer.startswith(header, begin + stride * count):
        count += 1
    if count < few:
        return count
    expected = np.frombuffer(header, np.uint8)
    while count < fitting:  # all so far fit: look at three times as many more
        shape = (min(fitting - count, 3 * count), len(header))
        heads = np.ndarray(shape, np.uint8, buffer, offset=begin + stride * count, strides=(stride, 1))
        differs = (heads != expected).any(axis=1)
        first = int(differs.argmax())
        if differs[first]:
            return count + first
        count += len(heads)
    return count
