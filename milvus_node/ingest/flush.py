"""From the insert buffer to segments and the catalog.

Order: segment files complete on disk, tombstones replaced, then one catalog transaction that shows the segments, the
row counts and the log position together. A crash before the transaction leaves orphan files and nothing else; the log
is applied again. A flush that is repeated, because the catalog was away or its answer was lost, offers the same files
again: at most one attempt goes through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from milvus_node.errors import SegmentDamaged, SegmentMissing, StorageError
from milvus_node.ingest.buffer import CollectionBuffer, Ids, RowBytes
from milvus_node.ingest.known_ids import KnownIds
from milvus_node.ingest.parts import WriteParts
from milvus_node.storage import owed_deletes
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.files import Deletion, NewFile
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection, Partition
from mishards.deadline import Deadline
from mishards.errors import CatalogConflict, CollectionNotFound, MishardsError
from mishards.kinds import IndexType

log = logging.getLogger(__name__)

SEGMENT_BYTES = 128 << 20
"""A flushed segment holds at most this many bytes of vectors."""

_PATIENCE_S = 10.0


def raw_file_type(collection: Collection, size: int) -> FileType:
    """What a new raw file of ``size`` bytes is: big enough to be queued for the collection's index, or plain raw."""
    wants_index = not collection.index_type.is_flat and size >= collection.table.index_file_size
    return FileType.TO_INDEX if wants_index else FileType.RAW


def remove_unnamed(folder: SegmentFolder) -> None:
    """Remove a segment that the catalog certainly does not name; the sweep at the next start gets what is left."""
    try:
        folder.remove()
    except StorageError as error:
        log.warning("segment folder %s is left behind: %s", folder.path, error)


@dataclass(frozen=True, slots=True)
class _Written:
    """A segment that is complete on disk; ``size`` counts the bytes of its ids and vectors."""

    table_id: str
    folder: SegmentFolder
    size: int
    rows: int


class Flusher:
    """Makes accepted rows and deletes durable in segments, and visible. Safe from any thread."""

    def __init__(self, parts: WriteParts) -> None:
        self._parts = parts
        self._known = KnownIds()
        self._offered: WeakKeyDictionary[CollectionBuffer, list[_Written]] = WeakKeyDictionary()
        """Segments that the catalog may name or not, its answer being lost; under the collection's structure lock."""

    def flush(self, name: str, deadline: Deadline | None = None) -> None:
        """Flush what one collection has accepted; a flush of it that is under way is awaited until ``deadline``.

        Raises:
            DeadlineExceeded: the one under way took too long.
            StorageError: no room, or the folder is away; everything stays in the buffer and in the log.
            CatalogUnavailable: likewise.
        """
        buffer = self._parts.buffer
        with self._parts.locks.structure(name, deadline):
            # What an earlier flush failed on comes first, then the rest; rows that arrive meanwhile are the next one's.
            for _ in range(2):
                taken = buffer.take(name)
                if taken is None:
                    break
                with self._parts.tasks.timed("flush"):
                    self._show(name, taken)
                buffer.settled(name)
        self._cut_log()

    def flush_all(self, deadline: Deadline | None = None) -> None:
        """Flush every collection that has something to flush; one that fails keeps no other back.

        Without a ``deadline`` each waits for a flush of it under way for a short time only.

        Raises:
            MishardsError: as ``flush``, for the first that failed.
        """
        failed: MishardsError | None = None
        for name in self._parts.buffer.pending():
            try:
                self.flush(name, deadline or Deadline.after(_PATIENCE_S))
            except MishardsError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def finish(self) -> None:
        """Flush everything for the last time, and record that no log is needed up to here.

        A Milvus server that takes the database over starts without a log of its own only where it finds that.

        Raises:
            MishardsError: as ``flush_all``; nothing is recorded then.
        """
        applied = self._parts.wal.last_lsn
        self.flush_all()
        self._parts.files.record_all_flushed(applied)

    def _show(self, name: str, taken: CollectionBuffer) -> None:
        parts = self._parts
        try:
            collection = parts.catalog.refreshed().collection(name)
        except CollectionNotFound:
            for segment in self._offered.get(taken, ()):
                remove_unnamed(segment.folder)
            return
        if collection.table.flush_lsn >= taken.last_lsn:
            return  # the transaction of an earlier attempt went through although its answer was lost
        # After the catalog was read and the rows were taken: so what a writer that is succeeded at this very moment
        # still does to segments, it does to those of its own time, and by records that its successor replays.
        parts.prove()
        by_table = {partition.table_id: partition for partition in collection.partitions}
        deletions = self._write(by_table, taken)
        new_files = [_new_file(collection, w) for w in self._offered[taken] if w.table_id in by_table]
        try:
            parts.files.flush(new_files, deletions, taken.last_lsn, list(by_table))
        except CatalogConflict:
            if parts.catalog.refreshed().collection(name).table.flush_lsn < taken.last_lsn:
                raise
            return  # an earlier attempt's transaction has only just gone through
        parts.catalog.refreshed()

    def _write(self, by_table: dict[str, Partition], taken: CollectionBuffer) -> list[Deletion]:
        """Write rows and deletes of every partition that still exists; with an error, no new segment stays."""
        written: list[_Written] = []
        try:
            if taken not in self._offered:
                self._write_rows(by_table, taken, written)
            deletions = []
            for table_id, ids in taken.deletes().items():
                if table_id in by_table:
                    deletions += self._bury(by_table[table_id], ids)
            self._offered.setdefault(taken, written)
        finally:
            if taken not in self._offered:
                for segment in written:
                    remove_unnamed(segment.folder)
        return deletions

    def _write_rows(self, by_table: dict[str, Partition], taken: CollectionBuffer, written: list[_Written]) -> None:
        for table_id in taken.table_ids:
            if table_id not in by_table:
                continue
            ids, vectors = taken.rows(table_id)
            for rows in _slices(len(ids), vectors):
                folder = self._parts.layout.segment(table_id, self._parts.ids.one())
                size = ids[rows].nbytes + vectors[rows].nbytes
                written.append(_Written(table_id, folder, size, len(ids[rows])))
                folder.write_raw(ids[rows], vectors[rows])
                self._known.learn(folder.segment_id, ids[rows])

    def _bury(self, partition: Partition, ids: Ids) -> list[Deletion]:
        """Write tombstones for rows of these ids in every segment of the partition."""
        deletions = []
        for segment in partition.segments:
            if self._known.exclude(segment.segment_id, ids):
                continue
            folder = self._parts.layout.segment(segment.table_id, segment.segment_id)
            try:
                left = self._bury_in(folder, ids)
            except (SegmentDamaged, SegmentMissing) as error:
                if not folder.path.is_dir():
                    raise  # the folder is away, rather than this segment damaged
                log.warning("deletes are kept beside a damaged segment: %s", error)
                owed_deletes.add(folder.path, ids)
                left = segment.rows  # not known; the new version makes nodes that have it in memory look
            if left is not None:
                deletions.append(Deletion(segment.table_id, segment.segment_id, left))
        return deletions

    def _bury_in(self, folder: SegmentFolder, ids: Ids) -> int | None:
        """Write tombstones into one segment, and return its live rows; None when it has no such row."""
        stored = folder.read_ids()
        self._known.learn(folder.segment_id, stored)
        hits = np.flatnonzero(np.isin(stored, ids))
        if not hits.size:
            return None
        dead = np.union1d(folder.read_deleted(stored), hits.astype(np.int32))
        folder.write_deleted(dead, epoch=self._parts.tombstones_epoch(folder.segment_id))
        return len(stored) - len(dead)

    def _cut_log(self) -> None:
        # In this order: what enters log and buffer after the first question is above the answer to it.
        applied = self._parts.wal.last_lsn
        first = self._parts.buffer.first_lsn()
        self._parts.wal.cut(applied if first is None else min(applied, first - 1))


def _slices(rows: int, vectors: RowBytes) -> Iterator[slice]:
    """The rows of each segment; a segment has at least one row, however large that is."""
    step = max(1, SEGMENT_BYTES // max(1, vectors.shape[1]))
    return (slice(start, start + step) for start in range(0, rows, step))


def _new_file(collection: Collection, written: _Written) -> NewFile:
    segment_id = written.folder.segment_id
    kind = raw_file_type(collection, written.size)
    engine = IndexType(collection.index_type)
    return NewFile(written.table_id, segment_id, segment_id, kind, engine, written.size, written.rows)
