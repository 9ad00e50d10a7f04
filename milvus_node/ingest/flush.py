"""From the insert buffer to segments and the catalog.

Order: segment files complete on disk, tombstones replaced, then one catalog transaction that shows the segments, the
row counts and the log position together. A crash before the transaction leaves orphan files and nothing else; the log
is applied again.
"""

from __future__ import annotations

import numpy as np

from milvus_node.ingest.buffer import CollectionBuffer, Ids, RowBytes
from milvus_node.ingest.parts import WriteParts
from mishards.catalog.files import Deletion, NewFile
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection, Partition
from mishards.errors import CollectionNotFound
from mishards.kinds import IndexType

SEGMENT_BYTES = 128 << 20
"""A flushed segment holds at most this many bytes of vectors."""


def raw_file_type(collection: Collection, size: int) -> FileType:
    """What a new raw file of ``size`` bytes is: big enough to be queued for the collection's index, or plain raw."""
    wants_index = not collection.index_type.is_flat and size >= collection.table.index_file_size
    return FileType.TO_INDEX if wants_index else FileType.RAW


class Flusher:
    """Makes accepted rows and deletes durable in segments, and visible. Safe from any thread."""

    def __init__(self, parts: WriteParts) -> None:
        self._parts = parts

    def flush(self, name: str) -> None:
        """Flush one collection; a flush of the same collection that is under way is awaited.

        Raises:
            StorageError: no room, or the folder is away; everything stays in the buffer and in the log.
            CatalogUnavailable: likewise.
        """
        buffer = self._parts.buffer
        with self._parts.locks.structure(name):
            while (taken := buffer.take(name)) is not None:
                self._show(name, taken)
                buffer.settled(name)
        self._cut_log()

    def flush_all(self) -> None:
        """Flush every collection that has something to flush."""
        for name in self._parts.buffer.pending():
            self.flush(name)

    def _show(self, name: str, taken: CollectionBuffer) -> None:
        parts = self._parts
        try:
            collection = parts.catalog.refreshed().collection(name)
        except CollectionNotFound:
            return
        if collection.table.flush_lsn >= taken.last_lsn:
            return  # the transaction of an earlier attempt went through although its answer was lost
        by_table = {partition.table_id: partition for partition in collection.partitions}
        new_files = []
        for table_id in taken.table_ids:
            if table_id in by_table:
                new_files += self._write_segments(collection, table_id, *taken.rows(table_id))
        deletions = []
        for table_id, ids in taken.deletes().items():
            if table_id in by_table:
                deletions += self._bury(by_table[table_id], ids)
        parts.files.flush(new_files, deletions, taken.last_lsn, list(by_table))
        parts.catalog.refreshed()

    def _write_segments(self, collection: Collection, table_id: str, ids: Ids, vectors: RowBytes) -> list[NewFile]:
        if not len(ids):
            return []
        step = max(1, SEGMENT_BYTES // vectors.shape[1])
        return [
            self._write_segment(collection, table_id, ids[i : i + step], vectors[i : i + step])
            for i in range(0, len(ids), step)
        ]

    def _write_segment(self, collection: Collection, table_id: str, ids: Ids, vectors: RowBytes) -> NewFile:
        segment_id = self._parts.ids.one()
        self._parts.layout.segment(table_id, segment_id).write_raw(ids, vectors)
        size = ids.nbytes + vectors.nbytes
        engine = collection.index_type
        return NewFile(
            table_id, segment_id, segment_id, raw_file_type(collection, size), IndexType(engine), size, len(ids)
        )

    def _bury(self, partition: Partition, ids: Ids) -> list[Deletion]:
        """Write tombstones for rows of these ids in every segment of the partition."""
        deletions = []
        for segment in partition.segments:
            folder = self._parts.layout.segment(segment.table_id, segment.segment_id)
            stored = folder.read_ids()
            hits = np.flatnonzero(np.isin(stored, ids))
            if not hits.size:
                continue
            dead = np.union1d(folder.read_deleted(), hits.astype(np.int32))
            folder.write_deleted(dead)
            deletions.append(Deletion(segment.table_id, segment.segment_id, len(stored) - len(dead)))
        return deletions

    def _cut_log(self) -> None:
        first = self._parts.buffer.first_lsn()
        self._parts.wal.cut(self._parts.wal.last_lsn if first is None else first - 1)
