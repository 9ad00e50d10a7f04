"""What a client defines: collections, partitions, index definitions; and the long work that CreateIndex waits for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np

from milvus_node.ingest.build import IndexBuilder
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.layers import Candidate, background_merges, forced_merges
from milvus_node.ingest.parts import WriteParts
from milvus_node.ingest.rewrite import MIN_ROWS_TO_INDEX, Rewriter
from milvus_node.ingest.wal import DeleteRecord
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection, Partition, Segment
from mishards.deadline import Deadline
from mishards.errors import BuildFailed, CollectionExists, MishardsError, Overloaded, PartitionError
from mishards.kinds import IndexType, MetricType

_BARRIER_S = 10.0


def engine_type(index_type: IndexType, metric: MetricType) -> IndexType:
    """How the catalog numbers an index type: the binary kinds have numbers of their own."""
    if metric.is_binary:
        return {IndexType.FLAT: IndexType.BIN_FLAT, IndexType.IVF_FLAT: IndexType.BIN_IVF_FLAT}.get(
            index_type, index_type
        )
    return index_type


class CollectionWriter:
    """The definition calls of clients. Safe from any thread."""

    def __init__(self, parts: WriteParts, flusher: Flusher, rewriter: Rewriter, builder: IndexBuilder) -> None:
        self._parts = parts
        self._flusher = flusher
        self._rewriter = rewriter
        self._builder = builder

    def create(self, name: str, dimension: int, index_file_size: int, metric: MetricType) -> None:
        """Make a collection; ``index_file_size`` in bytes.

        Raises:
            CollectionExists: the name is taken.
        """
        with self._parts.locks.structure(name), self._parts.locks.gate(name):
            if name in self._parts.catalog.refreshed().collections:
                raise CollectionExists
            self._settle_log(name)
            self._parts.buffer.discard(name)
            self._parts.definitions.create_collection(
                name, dimension, index_file_size, metric, flush_lsn=self._parts.wal.last_lsn
            )
            self._parts.catalog.refreshed()

    def _settle_log(self, name: str) -> None:
        """Wait until all that entered the log before is in the buffer: it belongs to an earlier collection of the name.

        Raises:
            Overloaded: the log is too busy; nothing was changed.
        """
        deadline = Deadline.after(_BARRIER_S)
        barrier = self._parts.wal.append(DeleteRecord((name,), np.empty(0, np.int64)), deadline=deadline)
        try:
            barrier.exception(deadline.timeout())  # a record that the disk refused is as good a barrier
        except FutureTimeoutError:
            raise Overloaded(f"the write-ahead log has not come to an end within {_BARRIER_S:g} s") from None

    def drop(self, collection: Collection) -> None:
        """Forget a collection, its partitions, its buffered rows; its files go after the cleanup delay."""
        name = collection.name
        with self._parts.locks.structure(name), self._parts.locks.gate(name):
            current = self._parts.catalog.refreshed().collection(name)
            self._parts.definitions.drop([partition.table_id for partition in current.partitions])
            self._parts.buffer.discard(name)
            self._parts.catalog.refreshed()

    def create_partition(self, collection: Collection, tag: str) -> None:
        """Make a partition of this trimmed tag.

        Raises:
            PartitionError: the tag is taken.
        """
        with self._parts.locks.structure(collection.name):
            current = self._parts.catalog.refreshed().collection(collection.name)
            if current.partition(tag) is not None:
                raise PartitionError("Duplicate partition is not allowed")
            try:
                self._parts.definitions.create_partition(current.table, self._parts.ids.one(), tag)
            except CollectionExists as error:
                raise PartitionError("Duplicate partition is not allowed") from error
            self._parts.catalog.refreshed()

    def drop_partition(self, collection: Collection, partition: Partition) -> None:
        """Forget a partition; its rows vanish at once."""
        with self._parts.locks.structure(collection.name), self._parts.locks.gate(collection.name):
            self._parts.definitions.drop([partition.table_id])
            self._parts.catalog.refreshed()

    def create_index(
        self, collection: Collection, index_type: IndexType, params: str, deadline: Deadline | None = None
    ) -> None:
        """Flush, merge, then build the index of every segment that is big enough; returns when all are built.

        ``params`` is a canonical JSON object. Rows that arrive meanwhile are indexed later, in the background. Another
        change of the index is awaited until ``deadline``; a build that has begun goes on to its end.

        Raises:
            DeadlineExceeded: another change took too long.
            BuildFailed: what the builds said; segments without an index are searched exactly.
        """
        name = collection.name
        with self._parts.locks.definition(name, deadline):
            self._flusher.flush(name, deadline)
            wanted = engine_type(index_type, collection.metric)
            with self._parts.locks.structure(name):
                current = self._parts.catalog.refreshed().collection(name)
                if (current.index_type, current.index_params) != (wanted, params):
                    self._redefine(current, wanted, params)
            self.merge_all(name)
            if not wanted.is_flat:
                self._queue_all(name)
                self._build_all(name)

    def drop_index(self, collection: Collection, deadline: Deadline | None = None) -> None:
        """Go back to exact search: index files are retired, raw files are searched.

        Raises:
            DeadlineExceeded: another change of the index took too long.
        """
        name = collection.name
        with self._parts.locks.definition(name, deadline):
            with self._parts.locks.structure(name):
                current = self._parts.catalog.refreshed().collection(name)
                self._redefine(current, engine_type(IndexType.FLAT, current.metric), "{}")
            self.merge_all(name)

    def _redefine(self, current: Collection, wanted: IndexType, params: str) -> None:
        table_ids = [partition.table_id for partition in current.partitions]
        self._parts.definitions.drop_index(table_ids, engine_type(IndexType.FLAT, current.metric))
        if not wanted.is_flat:
            self._parts.definitions.set_index(table_ids, wanted, params)
        self._parts.catalog.refreshed()

    def merge_all(self, name: str) -> None:
        """Merge the raw segments of every partition into segments of about ``index_file_size``."""
        collection = self._parts.catalog.known().collection(name)
        for partition in collection.partitions:
            raw = self._mergeable(partition)
            for group in forced_merges(_candidates(raw.values()), collection.table.index_file_size):
                self._rewriter.merge(name, [raw[segment_id] for segment_id in group])

    def merge_small(self, name: str) -> None:
        """Merge small raw segments of the same size layer."""
        collection = self._parts.catalog.known().collection(name)
        for partition in collection.partitions:
            raw = self._mergeable(partition)
            for group in background_merges(_candidates(raw.values()), collection.table.index_file_size):
                self._rewriter.merge(name, [raw[segment_id] for segment_id in group])

    def _mergeable(self, partition: Partition) -> dict[str, Segment]:
        """The raw segments of a partition without those that are damaged, by id."""
        layout = self._parts.layout
        return {
            s.segment_id: s
            for s in partition.segments
            if s.file.file_type == FileType.RAW
            and not layout.damaged.has(layout.segment(s.table_id, s.segment_id).path)
        }

    def _queue_all(self, name: str) -> None:
        collection = self._parts.catalog.known().collection(name)
        with self._parts.locks.structure(name):
            self._parts.files.mark_to_index(
                [
                    segment.file.id
                    for segment in collection.segments
                    if segment.file.file_type == FileType.RAW and segment.rows >= MIN_ROWS_TO_INDEX
                ]
            )
            self._parts.catalog.refreshed()

    def _build_all(self, name: str) -> None:
        failures = []
        for segment in self._builder.waiting(name):
            try:
                self._builder.build(name, segment)
            except MishardsError as error:
                failures.append(str(error))
        if failures:
            raise BuildFailed("; ".join(sorted(set(failures))))


def _candidates(segments: Iterable[Segment]) -> list[Candidate]:
    now = time.time()
    return [Candidate(s.segment_id, s.file.file_size, now - s.file.created_on / 1e6) for s in segments]
