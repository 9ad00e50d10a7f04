"""Reading one file of the write-ahead log, and telling a torn end from damage.

A crash may leave any part of the records that were not yet synced, also later ones without earlier ones. So bytes that
are no record are a torn end unless a whole record follows whose ``group`` says that those bytes were durable before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

import numpy as np

from milvus_node.errors import LogDamaged
from milvus_node.ingest import wal_format
from milvus_node.ingest.wal_format import FILE_HEADER_BYTES, RECORD_HEADER_BYTES, FileHeader, Record, RecordHeader
from milvus_node.storage.file_io import storage_errors

_BUFFER_BYTES = 1 << 20


def damaged(path: Path, offset: int, reason: str) -> LogDamaged:
    """The error for a log file that cannot be read on."""
    return LogDamaged(
        f"{path} is damaged at offset {offset}: {reason}; restore the file, or ignore damage to drop this and all after"
    )


@dataclass(slots=True)
class LogReader:
    """An open log file and its end; used by one thread."""

    path: Path
    header: FileHeader
    size: int
    _file: BufferedReader[FileIO]

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[LogReader]:
        """Open a log file; LogDamaged when it does not begin as one, StorageError when the block cannot read it."""
        with storage_errors(path), BufferedReader(FileIO(path), _BUFFER_BYTES) as file:
            try:
                header = FileHeader.parse(file.read(FILE_HEADER_BYTES))
            except ValueError as error:
                raise damaged(path, 0, str(error)) from error
            yield cls(path, header, path.stat().st_size, file)

    def record_at(self, offset: int) -> tuple[RecordHeader, Record] | None:
        """The record that begins at ``offset``, or None when the bytes there are no whole and intact record."""
        self._file.seek(offset)
        head = self._file.read(RECORD_HEADER_BYTES)
        header = RecordHeader.parse(head, self.header.number, offset)
        if header is None or offset + RECORD_HEADER_BYTES + header.payload_bytes > self.size:
            return None
        payload = np.empty(header.payload_bytes, np.uint8)
        if self._file.readinto(payload.data) != payload.size:
            return None
        if not wal_format.is_intact(head, self.header.salt, payload):
            return None
        try:
            return header, wal_format.decode(header, payload)
        except ValueError as error:
            raise damaged(self.path, offset, str(error)) from error

    def was_durable(self, offset: int) -> bool:
        """Does a later record prove that what lay at ``offset`` had been synced?"""
        for candidate in self._find(wal_format.RECORD_MAGIC, offset + 1):
            found = self.record_at(candidate)
            if found is not None and offset < found[0].group <= candidate:
                return True
        return False

    def _find(self, wanted: bytes, start: int) -> Iterator[int]:
        """The offsets of ``wanted`` from ``start`` on."""
        while start < self.size:
            self._file.seek(start)
            chunk = self._file.read(_BUFFER_BYTES)
            position = chunk.find(wanted)
            while position >= 0:
                yield start + position
                position = chunk.find(wanted, position + 1)
            start += max(1, len(chunk) - len(wanted) + 1)
