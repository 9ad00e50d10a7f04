"""The write-ahead log: what was appended and acknowledged is on disk before anyone is told.

Appends from many threads share a sync: one thread takes all that wait, writes them with one call, syncs once, applies
them in LSN order and resolves their futures. Knows nothing of buffers, segments or the catalog; the byte format is in
``wal_format``.

Invariants: LSNs rise strictly, across restarts too. A record whose future has a result is durable. A record whose
future failed is not in the log, unless the log says that it is broken: then the next start may find it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from milvus_node.errors import StorageError
from milvus_node.ingest.wal_format import (
    FILE_HEADER_BYTES,
    MAX_FILE_BYTES,
    DeleteRecord,
    EncodedRecord,
    InsertRecord,
    Record,
    encode,
    number_of,
)
from milvus_node.ingest.wal_recovery import Recovery
from milvus_node.ingest.wal_terms import EarlierLogs, term_folder
from milvus_node.ingest.wal_writer import LogWriter
from milvus_node.storage.file_io import make_folder, storage_errors
from milvus_node.storage.lock import FolderLock
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded, Overloaded, ShuttingDown

__all__ = ["DeleteRecord", "InsertRecord", "Record", "WalOptions", "WriteAheadLog"]

_log = logging.getLogger(__name__)

_CLOSE_S = 30.0
_NEVER = Deadline.never()


@dataclass(frozen=True, slots=True)
class WalOptions:
    """How a log behaves.

    Attributes:
        file_bytes: size at which a file is complete; a record may exceed it by itself.
        queue_bytes: what may wait to be written before ``append`` blocks.
        roll_bytes: size from which ``cut`` completes the current file so that it can go.
        above_lsn: the highest LSN that the catalog has recorded as flushed; new ones are above it.
        ignore_damage: drop damage and all after it instead of refusing to start.
        synced: told on the log's thread how many seconds each sync took; must be quick, and must not raise.
    """

    file_bytes: int = 256 << 20
    queue_bytes: int = 512 << 20
    roll_bytes: int = 16 << 20
    above_lsn: int = 0
    ignore_damage: bool = False
    synced: Callable[[float], None] = lambda _: None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    encoded: EncodedRecord
    applied: Callable[[int], None] | None
    future: Future[int] = field(default_factory=Future)


class WriteAheadLog:
    """The log in a folder; made by ``open``, then ``replay``, then appended to from any thread, then ``close``."""

    @classmethod
    def open(cls, folder: Path, options: WalOptions | None = None, earlier: EarlierLogs | None = None) -> WriteAheadLog:
        """Lock ``folder``, creating it; FolderLocked when another process has it, StorageError otherwise."""
        with storage_errors(folder):
            make_folder(folder)
        return cls(folder, options or WalOptions(), FolderLock.acquire(folder / "lock"), earlier)

    @classmethod
    def open_term(cls, root: Path, epoch: int, options: WalOptions) -> WriteAheadLog:
        """Begin the log of a term in a folder of its own, after those of earlier terms: their records come first.

        Raises as ``open``.
        """
        earlier = EarlierLogs(root, epoch, ignore_damage=options.ignore_damage)
        return cls.open(term_folder(root, epoch), options, earlier)

    def __init__(self, folder: Path, options: WalOptions, lock: FolderLock, earlier: EarlierLogs | None = None) -> None:
        self._folder = folder
        self._options = options
        self._folder_lock = lock
        self._earlier = earlier  # until what they hold is flushed
        self._writer: LogWriter | None = None
        self._files = threading.Lock()  # the writer's; held while a group is written
        self._last_lsn = options.above_lsn
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0  # waiting or being written
        self._closing = False
        self._mutex = threading.Lock()  # the queue's
        self._arrived = threading.Condition(self._mutex)
        self._room = threading.Condition(self._mutex)
        self._thread = threading.Thread(target=self._run, name=f"wal-{folder.name}", daemon=True)

    @property
    def last_lsn(self) -> int:
        """The LSN up to which every record is durable and applied."""
        return self._last_lsn

    @property
    def size_bytes(self) -> int:
        """Bytes of all log files; 0 before ``replay``."""
        return self._writer.size_bytes if self._writer else 0

    @property
    def queued_bytes(self) -> int:
        """Bytes of records that wait to be written, or are being written."""
        return self._queued_bytes

    def replay(self, after: Callable[[str], int] | None = None) -> Iterator[tuple[int, Record]]:
        """Yield (LSN, record) of every record, in order; once exhausted, the log takes appends.

        ``after(table_id)`` is the LSN up to which a table has been flushed: its records up to there are left out, and
        a delete names only the tables that still need it.

        Raises:
            LogDamaged: As ``Recovery.records`` says.
        """
        recovery = Recovery(self._folder, ignore_damage=self._options.ignore_damage)
        earlier = self._earlier.records() if self._earlier else ()
        for lsn, record in chain(earlier, recovery.records()):
            needed = _needed(record, lsn, after) if after else record
            if needed is not None:
                yield lsn, needed
        self._begin(recovery)

    def append(
        self, record: Record, applied: Callable[[int], None] | None = None, *, deadline: Deadline = _NEVER
    ) -> Future[int]:
        """Queue ``record`` and return the future of its LSN, resolved once it is durable and ``applied(lsn)`` has run.

        ``applied`` runs on the log's thread, in LSN order over all records, and must be quick; what it raises becomes
        the result of this record alone, which stays in the log. The arrays must not change until the future is done;
        contiguous ones are not copied. A future cancelled in time takes its record back.

        Raises:
            Overloaded: ``deadline`` passed while too much waited; nothing was queued.
            ShuttingDown: The log is closed.
            StorageError: The log is broken. Or DiskFull: both also from the future, when writing failed.
        """
        waiting = _Waiting(encode(record), applied)
        size = waiting.encoded.size
        if size > MAX_FILE_BYTES - FILE_HEADER_BYTES:
            raise ValueError(f"a record of {size} bytes does not fit a log file of {MAX_FILE_BYTES}")
        with self._mutex:
            self._check_open()
            while self._queued_bytes and self._queued_bytes + size > self._options.queue_bytes:
                if not self._room.wait(deadline.timeout()):
                    raise Overloaded(
                        f"write-ahead log: {self._queued_bytes} bytes wait to be written, no room for {size} within "
                        f"{self._options.queue_bytes}"
                    )
                self._check_open()
            self._queue.append(waiting)
            self._queued_bytes += size
            self._arrived.notify()
        return waiting.future

    def cut(self, lsn: int) -> None:
        """Remove the log files that hold nothing above ``lsn``; waits for a group that is being written.

        Raises:
            StorageError: A file could not be removed, or (DiskFull) the next one not begun.
        """
        with self._files:
            if self._writer is None:
                return
            if self._earlier is not None and self._earlier.last_lsn <= lsn:
                self._earlier.remove()
                self._earlier = None
            self._writer.cut(lsn, self._options.roll_bytes)

    def close(self, deadline: Deadline | None = None) -> None:
        """Write what waits, stop the thread and free the folder; DeadlineExceeded when the disk takes too long."""
        with self._mutex:
            self._closing = True
            self._arrived.notify()
            self._room.notify_all()
        if self._thread.is_alive():
            self._thread.join((deadline or Deadline.after(_CLOSE_S)).timeout())
            if self._thread.is_alive():
                raise DeadlineExceeded(
                    f"the write-ahead log in {self._folder} still has {self._queued_bytes} bytes to write"
                )
        if self._writer is not None:
            self._writer.close()
        self._folder_lock.release()

    # --- one pass at the start -------------------------------------------------------------------------------

    def _begin(self, recovery: Recovery) -> None:
        """Take the files over from ``recovery`` and start the log's thread."""
        if self._writer is not None or self._closing:
            raise RuntimeError("a log is replayed once, before it is closed")
        above = max(self._options.above_lsn, self._earlier.last_lsn if self._earlier else 0)
        number = max(recovery.highest, number_of(above))
        options = self._options
        writer = LogWriter(self._folder, recovery.sizes, number, options.file_bytes, options.synced)
        if recovery.appendable and writer.end >= above:
            writer.resume(recovery.appendable)
        self._last_lsn = max(above, writer.end)
        self._writer = writer
        self._thread.start()

    def _check_open(self) -> None:
        if self._closing:
            raise ShuttingDown
        if self._writer is None:
            raise RuntimeError("the log must be replayed before the first append")
        if self._writer.broken:
            raise StorageError(self._writer.broken)

    # --- the log's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """Write the next group and settle its futures; False when the log closes and nothing waits."""
        taken = self._next_group()
        group = [waiting for waiting in taken if waiting.future.set_running_or_notify_cancel()]
        try:
            if group:
                self._commit(group)
        except Exception as error:  # noqa: BLE001 - top of a background loop; the error goes to those who wait
            for waiting in group:
                waiting.future.set_exception(error)
        with self._mutex:
            self._queued_bytes -= sum(waiting.encoded.size for waiting in taken)
            self._room.notify_all()
        return bool(taken)

    def _next_group(self) -> list[_Waiting]:
        """Wait for records and take those that fit one file; none when the log closes and none is left."""
        with self._mutex:
            while not self._queue and not self._closing:
                self._arrived.wait()
            group: list[_Waiting] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].encoded.size <= self._options.file_bytes):
                size += self._queue[0].encoded.size
                group.append(self._queue.popleft())
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        assert self._writer is not None  # noqa: S101 - narrows the type; the thread starts after it is set
        with self._files:
            lsns = self._writer.commit([waiting.encoded for waiting in group])
        errors = [_apply(waiting, lsn) for waiting, lsn in zip(group, lsns, strict=True)]
        self._last_lsn = lsns[-1]
        for waiting, lsn, error in zip(group, lsns, errors, strict=True):
            if error is None:
                waiting.future.set_result(lsn)
            else:
                waiting.future.set_exception(error)


def _apply(waiting: _Waiting, lsn: int) -> Exception | None:
    try:
        if waiting.applied is not None:
            waiting.applied(lsn)
    except Exception as error:  # noqa: BLE001 - a stranger's callback; the error goes to the one who appended
        _log.exception("record logged but not applied lsn=%d", lsn)
        return error
    return None


def _needed(record: Record, lsn: int, after: Callable[[str], int]) -> Record | None:
    """What of ``record`` is not flushed yet."""
    if isinstance(record, InsertRecord):
        return record if lsn > after(record.table_id) else None
    table_ids = tuple(table_id for table_id in record.table_ids if lsn > after(table_id))
    return replace(record, table_ids=table_ids) if table_ids else None
