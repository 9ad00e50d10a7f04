"""The files of a raw segment, byte for byte as Milvus 1.x writes them, little endian.

    offset  bytes  field
    0       8      u64   n, the payload's bytes
    8       n      rows of float32 or uint8 (``.rv``), int64 ids (``.uid``), int32 row offsets (``deleted_docs``)

The declared size must equal the file's, or the file is SegmentDamaged. Reads go straight into the returned array.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_node.errors import SegmentDamaged, SegmentMissing
from milvus_node.storage.checksums import Checksum, verify
from milvus_node.storage.file_io import BytesLike, bytes_of, read_fully, storage_error

_HEADER = struct.Struct("<Q")
HEADER_BYTES = _HEADER.size
_GONE = (errno.ENOENT, errno.ESTALE)


def framed(payload: npt.NDArray[Any]) -> tuple[bytes, memoryview]:
    """The file with this ``payload``, as buffers to write; a C-contiguous payload is not copied."""
    return _HEADER.pack(payload.nbytes), bytes_of(payload)


def framed_blocks(blocks: Iterable[npt.NDArray[Any]], size: int) -> Iterator[BytesLike]:
    """The file whose payload of ``size`` bytes is the ``blocks``, as buffers to write; each is made when it is due."""
    yield _HEADER.pack(size)
    for block in blocks:
        yield bytes_of(block)


def payload_bytes(path: Path) -> int:
    """The size of the payload of the file at ``path``, checked against the file's."""
    with _open(path) as file:
        return file.payload_bytes


def read_payload(path: Path, expected: int | None = None) -> npt.NDArray[np.uint8]:
    """Read the whole payload, ``uint8[n]``, and verify it against its checksum.

    Raises:
        SegmentMissing: There is no such file.
        SegmentDamaged: Its size is not the declared one or not ``expected``, or the checksum differs.
        StorageError: It cannot be read.
    """
    with _open(path, expected) as file:
        payload = np.empty(file.payload_bytes, np.uint8)
        file.read(payload, 0)
    crc32 = zlib.crc32(payload.data, zlib.crc32(_HEADER.pack(file.payload_bytes)))
    verify(path, Checksum(_HEADER.size + file.payload_bytes, crc32, file.modified_ns))
    return payload


def read_payload_rows(path: Path, rows: npt.NDArray[np.int64], row_bytes: int, row_count: int) -> npt.NDArray[np.uint8]:
    """Read only ``rows`` (``int64[m]``, any order) of ``row_count`` as ``uint8[m, row_bytes]``, unverified.

    Rows that follow one another are read at once. Raises as ``read_payload``, and ValueError for a row out of range.
    """
    if len(rows) and not 0 <= rows.min() <= rows.max() < row_count:
        raise ValueError(f"rows {rows.min()}..{rows.max()} are not in the {row_count} rows of {path}")
    out = np.empty((len(rows), row_bytes), np.uint8)
    runs = np.append(np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1), len(rows))
    with _open(path, row_count * row_bytes) as file:
        for start, stop in pairwise(runs):
            file.read(out[start:stop].reshape(-1), int(rows[start]) * row_bytes)
    return out


@dataclass(frozen=True, slots=True)
class _OpenFile:
    path: Path
    fd: int
    payload_bytes: int
    modified_ns: int

    def read(self, into: npt.NDArray[np.uint8], offset: int) -> None:
        done = read_fully(self.fd, into, _HEADER.size + offset)
        if done < into.nbytes:
            raise SegmentDamaged(f"{self.path} ended {into.nbytes - done} bytes early while it was read")


@contextmanager
def _open(path: Path, expected: int | None = None) -> Iterator[_OpenFile]:
    """Open a file for reading and check its declared size; every OSError of the block becomes the node's."""
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            state = os.fstat(fd)
            header = os.pread(fd, _HEADER.size, 0)
            if len(header) < _HEADER.size:
                raise SegmentDamaged(f"{path} is damaged: {state.st_size} bytes, too short for its size field")
            (size,) = _HEADER.unpack(header)
            if size != state.st_size - _HEADER.size:
                raise SegmentDamaged(
                    f"{path} is damaged: it declares {size} bytes and holds {state.st_size - _HEADER.size}"
                )
            if expected not in (None, size):
                raise SegmentDamaged(f"{path} is damaged: a payload of {size} bytes, but {expected} fit the ids")
            yield _OpenFile(path, fd, size, state.st_mtime_ns)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _GONE:
            raise SegmentMissing(f"{path} is missing") from error
        raise storage_error(error, path) from error
