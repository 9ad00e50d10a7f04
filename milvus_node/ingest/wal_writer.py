"""The files of the write-ahead log and their append end: groups of records written, synced, or cut off again.

Not safe for threads; ``WriteAheadLog`` sees to that. Knows no queue and no reader. A group that failed leaves no byte
behind. After a failed sync the file is not written to again, since the page cache may now claim what the disk lacks.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from milvus_node.errors import StorageError
from milvus_node.ingest.wal_format import FILE_HEADER_BYTES, EncodedRecord, FileHeader, lsn_of
from milvus_node.storage.file_io import BytesLike, storage_errors, sync_folder, write_fully
from milvus_node.storage.staging import Staging, is_temporary

_log = logging.getLogger(__name__)


def log_path(folder: Path, number: int) -> Path:
    """The path of log file ``number``."""
    return folder / f"{number}.wal"


def log_numbers(folder: Path) -> list[int]:
    """The numbers of the log files in ``folder``, ascending; unfinished files are removed."""
    numbers = []
    with storage_errors(folder):
        for path in folder.iterdir():
            if path.suffix == ".wal" and path.stem.isdecimal():
                numbers.append(int(path.stem))
            elif is_temporary(path.name):
                path.unlink()
    return sorted(numbers)


class LogWriter:
    """The log files of ``folder``: complete ones, and the one that grows.

    Args:
        sizes: number → bytes of the files that exist, all of them whole.
        number: the last number that was ever used; the next file gets a higher one.
        file_bytes: a file that would grow beyond this is complete, unless it is empty.
        synced: told how many seconds each sync took.
    """

    def __init__(
        self,
        folder: Path,
        sizes: dict[int, int],
        number: int,
        file_bytes: int,
        synced: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._told = synced
        self._complete = tuple(sorted(sizes.items()))
        self._file_bytes = file_bytes
        self._number = number
        self._offset = 0
        self._salt = b""
        self._fd: int | None = None
        self._broken: str | None = None

    @property
    def broken(self) -> str | None:
        """Why no commit can succeed any more; None while one can."""
        return self._broken

    @property
    def end(self) -> int:
        """The LSN of the last record, or of the start of a file that is still empty."""
        if self._fd is None and self._complete:
            return lsn_of(*self._complete[-1])
        return lsn_of(self._number, self._offset)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return self._offset + sum(size for _, size in self._complete)

    def resume(self, header: FileHeader) -> None:
        """Go on in the last file, which has this header, and sync what was found in it."""
        *complete, (self._number, self._offset) = self._complete
        self._complete = tuple(complete)
        self._salt = header.salt
        path = log_path(self._folder, self._number)
        with storage_errors(path):
            self._fd = os.open(path, os.O_WRONLY)
            os.fsync(self._fd)

    def roll(self) -> None:
        """Complete the current file, if any, and begin the next; DiskFull or StorageError when that is impossible."""
        self._retire()
        previous_end = lsn_of(*self._complete[-1]) if self._complete else 0
        header = FileHeader(self._number + 1, secrets.token_bytes(4), previous_end)
        path = log_path(self._folder, header.number)
        with Staging(self._folder) as staging:
            staging.write(path.name, [header.pack()])
            staging.publish()
        self._number, self._offset, self._salt = header.number, FILE_HEADER_BYTES, header.salt
        with storage_errors(path):
            self._fd = os.open(path, os.O_WRONLY)

    def commit(self, records: Sequence[EncodedRecord]) -> list[int]:
        """Write ``records`` as one group, sync it, and return their LSNs.

        Raises:
            DiskFull: There is no room; the group is cut off again, and a later one may succeed.
            StorageError: Writing or syncing failed; the same, unless the group could not be cut off: then the log is
                broken and every further commit fails.
        """
        if self._broken:
            raise StorageError(self._broken)
        total = sum(record.size for record in records)
        if self._fd is None or (self._offset > FILE_HEADER_BYTES and self._offset + total > self._file_bytes):
            self.roll()
        start = end = self._offset
        buffers: list[BytesLike] = []
        lsns = []
        for record in records:
            end += record.size
            lsns.append(lsn_of(self._number, end))
            buffers.append(record.header(lsns[-1], start, self._salt))
            buffers.extend(record.payload)
        self._append(buffers, start, end)
        self._offset = end
        return lsns

    def cut(self, lsn: int, roll_bytes: int) -> None:
        """Remove files whose last record is at or below ``lsn``, oldest first.

        The current file counts as complete once it has ``roll_bytes`` and all of them may go.
        """
        self._remove_complete(lsn)
        if self._fd is not None and self.end <= lsn and self._offset >= max(roll_bytes, FILE_HEADER_BYTES + 1):
            self.roll()
            self._remove_complete(lsn)

    def close(self) -> None:
        """Close the current file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, buffers: Sequence[BytesLike], start: int, end: int) -> None:
        """Make ``buffers`` durable at ``start``, or cut the file back to ``start`` and raise."""
        assert self._fd is not None  # noqa: S101 - narrows the type; commit has just opened it
        written = synced = False
        try:
            with storage_errors(log_path(self._folder, self._number), wanted=end - start):
                write_fully(self._fd, buffers, start)
                written = True
                began = time.monotonic()
                os.fdatasync(self._fd)
                synced = True
                self._told(time.monotonic() - began)
        finally:
            if not synced:
                self._cut_back(start)
            if written and not synced:
                self._retire()

    def _cut_back(self, offset: int) -> None:
        assert self._fd is not None  # noqa: S101 - narrows the type; the caller has just written to it
        try:
            os.ftruncate(self._fd, offset)
            os.fsync(self._fd)
        except OSError as error:
            path = log_path(self._folder, self._number)
            self._broken = f"{path} is broken: failed records could not be cut off ({error.strerror}); restart the node"
            _log.exception("write-ahead log broken path=%s offset=%d", path, offset)

    def _retire(self) -> None:
        if self._fd is not None:
            self.close()
            self._complete = (*self._complete, (self._number, self._offset))
            self._offset = 0

    def _remove_complete(self, lsn: int) -> None:
        """Remove complete files, but never the last file of all: the numbers go on from it."""
        spare = 0 if self._fd is not None else 1
        while len(self._complete) > spare and lsn_of(*self._complete[0]) <= lsn:
            path = log_path(self._folder, self._complete[0][0])
            with storage_errors(path), suppress(FileNotFoundError):
                path.unlink()
            with storage_errors(self._folder):
                sync_folder(self._folder)
            self._complete = self._complete[1:]
