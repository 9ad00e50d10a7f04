"""Checksums beside the data: ``<file>.sum`` holds size and CRC-32 of ``<file>`` as one JSON object.

    {"size": 5120008, "crc32": "9ae0daaf"}                                   a file that is written once
    {"size": 408, "crc32": "1c291ca3", "modified_ns": 1795311041200422000}   a file that is replaced

There is one sum file per data file, and a data file without one is not verified: another server of the same
storage writes none. A sum with ``modified_ns`` speaks only of the version of the file that was modified then; once
another writer, or a crash between two renames, has put a different version in its place, the sum says nothing, so a
healthy file never looks damaged. CRC-32 is zlib's: 1 to 4 GB/s, without the interpreter lock.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from milvus_node.errors import SegmentDamaged
from milvus_node.storage.file_io import BytesLike, read_fully, storage_errors

SUFFIX = ".sum"
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file holds (``size`` bytes with this ``crc32``), and which version of it, if not every one."""

    size: int
    crc32: int
    modified_ns: int | None = None

    def to_json(self) -> bytes:
        """The content of the sum file."""
        fields: dict[str, int | str] = {"size": self.size, "crc32": f"{self.crc32:08x}"}
        if self.modified_ns is not None:
            fields["modified_ns"] = self.modified_ns
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Checksum:
        """Read a sum file's content; ValueError when it is none."""
        try:
            fields = json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        match fields:
            case {"size": int(size), "crc32": str(crc32), "modified_ns": int(modified_ns)}:
                return cls(size, int(crc32, 16), modified_ns)
            case {"size": int(size), "crc32": str(crc32)}:
                return cls(size, int(crc32, 16))
        raise ValueError("neither size nor crc32")


class Summing:
    """Buffers on their way to a file, each made when it is asked for, and in the end the checksum of them all."""

    def __init__(self, buffers: Iterable[BytesLike]) -> None:
        self._buffers = buffers
        self._size = self._crc32 = 0

    def __iter__(self) -> Iterator[BytesLike]:
        for part in self._buffers:
            self._size += len(part)
            self._crc32 = zlib.crc32(part, self._crc32)
            yield part

    @property
    def checksum(self) -> Checksum:
        """Of what has been handed out."""
        return Checksum(self._size, self._crc32)


def checksum_of(buffers: Iterable[BytesLike]) -> Checksum:
    """The checksum of a file made of ``buffers``."""
    summing = Summing(buffers)
    for _ in summing:
        pass
    return summing.checksum


def checksum_of_file(path: Path) -> Checksum:
    """Read the file at ``path`` and return its checksum."""
    chunk = np.empty(_CHUNK_BYTES, np.uint8)
    size = crc32 = 0
    with storage_errors(path), path.open("rb", buffering=0) as file:
        while count := read_fully(file.fileno(), chunk, size):
            crc32 = zlib.crc32(chunk[:count].data, crc32)
            size += count
    return Checksum(size, crc32)


def verify(path: Path, found: Checksum) -> None:
    """Compare what was read at ``path`` with its sum file, where there is one that speaks of this version.

    Raises:
        SegmentDamaged: They differ, or the sum file itself is unreadable as one.
    """
    sum_path = path.with_name(path.name + SUFFIX)
    try:
        with storage_errors(sum_path):
            try:
                content = sum_path.read_bytes()
            except FileNotFoundError:
                return
        expected = Checksum.parse(content)
    except ValueError as error:
        raise SegmentDamaged(f"{sum_path} is no checksum ({error}); remove it to serve its file unverified") from error
    if expected.modified_ns not in (None, found.modified_ns):
        return
    if (expected.size, expected.crc32) != (found.size, found.crc32):
        raise SegmentDamaged(
            f"{path} is damaged: {found.size} bytes with crc32 {found.crc32:08x}, "
            f"but {expected.size} bytes with crc32 {expected.crc32:08x} were written; restore it from a copy"
        )
