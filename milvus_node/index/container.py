"""The container of a Milvus 1.x index file: a type and named blobs, little endian.

    int32   index type
    then, to the end of the file, for each blob:
    uint64  length of the name        name (UTF-8)
    int64   length of the bytes       bytes

Blobs are streamed both ways. What is in them, and whether the file is on disk for good, is the caller's business.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from milvus_node.errors import SegmentDamaged

_TYPE = struct.Struct("<i")
_NAME = struct.Struct("<Q")
_LENGTH = struct.Struct("<q")
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Blob:
    """A named part of a file, and what writes its bytes to a stream."""

    name: str
    write: Callable[[BinaryIO], None]


class BlobReader:
    """The bytes of one blob, to be read once from front to end while the file is open."""

    def __init__(self, stream: BinaryIO, offset: int, length: int) -> None:
        self._stream = stream
        self._at = offset
        self._left = length

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return self._left

    def read(self, size: int) -> bytes:
        """Read the next ``size`` bytes, fewer only at the end of the blob. Raises SegmentDamaged in a cut file."""
        size = min(size, self._left)
        self._stream.seek(self._at)
        data = self._stream.read(size)
        if len(data) != size:
            raise SegmentDamaged(f"{_name(self._stream)} ends at byte {self._at + len(data)}, inside a blob")
        self._at += size
        self._left -= size
        return data


def write(stream: BinaryIO, index_type: int, blobs: Iterable[Blob]) -> None:
    """Write a file to the seekable ``stream``. What the stream raises passes through."""
    stream.write(_TYPE.pack(index_type))
    for blob in blobs:
        name = blob.name.encode()
        stream.write(_NAME.pack(len(name)) + name + _LENGTH.pack(0))
        start = stream.tell()
        blob.write(stream)
        end = stream.tell()
        stream.seek(start - _LENGTH.size)
        stream.write(_LENGTH.pack(end - start))
        stream.seek(end)


def read(stream: BinaryIO) -> tuple[int, dict[str, BlobReader]]:
    """Read the index type and the places of the blobs; their bytes stay unread. Raises SegmentDamaged."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    (index_type,) = _TYPE.unpack(_exactly(stream, _TYPE.size))
    blobs: dict[str, BlobReader] = {}
    while stream.tell() < end:
        (name_length,) = _NAME.unpack(_exactly(stream, _NAME.size))
        if name_length > _LONGEST_NAME:
            raise SegmentDamaged(f"{_name(stream)} is no index file: a blob's name has {name_length} bytes")
        name = _exactly(stream, name_length).decode(errors="replace")
        (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
        start = stream.tell()
        if not 0 <= length <= end - start:
            raise SegmentDamaged(f"{_name(stream)} is cut: blob {name} has {length} bytes, {end - start} are left")
        blobs[name] = BlobReader(stream, start, length)
        stream.seek(start + length)
    return index_type, blobs


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise SegmentDamaged(f"{_name(stream)} is cut: it ends at byte {stream.tell()}, inside a header")
    return data


def _name(stream: BinaryIO) -> str:
    return f"index file {getattr(stream, 'name', '')}".rstrip()
