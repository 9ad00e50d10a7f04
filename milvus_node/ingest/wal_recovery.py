"""The one pass over the log files when a log is opened: every whole record, and what to do about the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from milvus_node.errors import LogDamaged
from milvus_node.ingest.wal_format import FILE_HEADER_BYTES, FileHeader, Record, lsn_of, offset_of
from milvus_node.ingest.wal_reader import LogReader, damaged
from milvus_node.ingest.wal_writer import log_numbers, log_path
from milvus_node.storage.file_io import storage_errors, sync_folder

_log = logging.getLogger(__name__)


class Recovery:
    """The log files of ``folder``; what it says of them holds once ``records`` is exhausted.

    Attributes:
        sizes: number → bytes of each file that stays, whole records only.
        highest: the highest number found, 0 when there is no file.
        appendable: the header of the last file, when it can be gone on with.
    """

    def __init__(self, folder: Path, *, ignore_damage: bool, until: int | None = None, repair: bool = True) -> None:
        """``until``: the LSN behind which nothing counts; ``repair``: cut a torn end off, which the owner may do."""
        self.sizes: dict[int, int] = {}
        self.highest = 0
        self.appendable: FileHeader | None = None
        self._folder = folder
        self._ignore_damage = ignore_damage
        self._until = until
        self._repair = repair

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield (LSN, record) in order; then a torn end is cut off.

        Raises:
            LogDamaged: Bytes before the end are no record. Where damage is ignored, they and all after them are
                dropped instead: cut off their file; later files are renamed to ``<number>.wal.dropped``.
        """
        numbers = log_numbers(self._folder)
        self.highest = max(numbers, default=0)
        for position, number in enumerate(numbers):
            try:
                yield from self._records_of(number, last=number == self.highest)
            except LogDamaged:
                if not self._ignore_damage:
                    raise
                _log.exception("write-ahead log damaged, dropping the rest folder=%s", self._folder)
                self._drop(numbers[position:])
                return

    def _records_of(self, number: int, *, last: bool) -> Iterator[tuple[int, Record]]:
        path = log_path(self._folder, number)
        before = lsn_of(*max(self.sizes.items())) if self.sizes else None
        with LogReader.open(path) as reader:
            if reader.header.number != number:
                raise damaged(path, 0, f"it is file {reader.header.number}")
            if before not in (None, reader.header.previous_end):
                raise damaged(path, 0, f"the log before it ends at LSN {before}, not at {reader.header.previous_end}")
            offset = self.sizes[number] = FILE_HEADER_BYTES
            while offset < reader.size and not self._is_behind(number, offset):
                found = reader.record_at(offset)
                if found is None:
                    if not last or reader.was_durable(offset):
                        raise damaged(path, offset, "the bytes there are no record, and durable ones came after")
                    _log.warning(
                        "leaving out a torn end path=%s offset=%d bytes=%d", path, offset, reader.size - offset
                    )
                    if self._repair:
                        _truncate(path, offset)
                    break
                header, record = found
                offset = self.sizes[number] = offset_of(header.lsn)
                yield header.lsn, record
            self.appendable = reader.header if last else None

    def _is_behind(self, number: int, offset: int) -> bool:
        """Has everything that counts been read?"""
        return self._until is not None and lsn_of(number, offset) >= self._until

    def _drop(self, numbers: list[int]) -> None:
        """Drop the first file from its last whole record on, and the others."""
        first, *rest = numbers
        if first in self.sizes:
            _truncate(log_path(self._folder, first), self.sizes[first])
        else:
            rest = numbers
        for number in rest:
            path = log_path(self._folder, number)
            with storage_errors(path):
                path.rename(path.with_name(path.name + ".dropped"))
        with storage_errors(self._folder):
            sync_folder(self._folder)


def _truncate(path: Path, size: int) -> None:
    with storage_errors(path), path.open("r+b") as file:
        os.ftruncate(file.fileno(), size)
        os.fsync(file.fileno())
