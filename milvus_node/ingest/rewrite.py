"""Merge and compaction: live rows of some segments become one new segment in their place.

Reading and writing happen while everything goes on; only the commit holds the collection's structure lock. Rows deleted
meanwhile are deleted in the new segment too, before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milvus_node.errors import SegmentDamaged, SegmentMissing, StorageError
from milvus_node.index.blocks import blocks
from milvus_node.ingest.flush import raw_file_type, remove_unnamed
from milvus_node.ingest.parts import WriteParts
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.files import Expected, NewFile
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection, Segment
from mishards.errors import CatalogConflict, CollectionNotFound
from mishards.kinds import IndexType

MIN_ROWS_TO_INDEX = 4096
"""Smaller segments stay raw and are searched exactly."""

COMPACTION_THRESHOLD = 0.1
"""Compaction rewrites a segment whose deleted rows are at least this share of all."""


@dataclass(slots=True)
class _Source:
    segment: Segment
    folder: SegmentFolder
    ids: NDArray[np.int64]
    kept: NDArray[np.int64]
    """Rows of the source that are in the new segment, rising."""


@dataclass(slots=True)
class _Rewritten:
    folder: SegmentFolder
    table_id: str
    rows: int
    was_indexed: bool
    named: bool = False
    """May the catalog name it?"""


class Rewriter:
    """Replaces segments by their live rows. Safe from any thread."""

    def __init__(self, parts: WriteParts) -> None:
        self._parts = parts

    def merge(self, name: str, segments: Sequence[Segment]) -> bool:
        """Merge raw segments of one partition; False when they changed under it and nothing was done."""
        with self._parts.tasks.timed("merge"):
            return self._rewrite(name, segments, was_indexed=False)

    def compact(self, name: str) -> None:
        """Rewrite every segment of the collection in which enough rows are deleted.

        Raises:
            StorageError: segments are damaged or gone; the others were compacted.
            DiskFull, CatalogUnavailable: what was not rewritten yet stays as it was.
        """
        unreadable: list[StorageError] = []
        for found in self._parts.catalog.refreshed().collection(name).segments:
            segment = self._current(name, found)
            if segment is None:
                continue  # merged while others were rewritten
            try:
                self._compact_segment(name, segment)
            except (SegmentDamaged, SegmentMissing) as error:
                unreadable.append(error)
        if unreadable:
            raise StorageError(
                f"{len(unreadable)} segments of {name} cannot be compacted, the others are: "
                + "; ".join(map(str, unreadable))
            ) from unreadable[0]

    def _compact_segment(self, name: str, segment: Segment) -> None:
        folder = self._folder(segment)
        deleted = len(folder.read_deleted())
        if deleted and deleted >= COMPACTION_THRESHOLD * folder.row_count():
            indexed = segment.file.file_type in (FileType.INDEX, FileType.TO_INDEX)
            with self._parts.tasks.timed("compact"):
                self._rewrite(name, [segment], was_indexed=indexed)

    def _current(self, name: str, found: Segment) -> Segment | None:
        segments = self._parts.catalog.known().collection(name).segments
        return next((segment for segment in segments if segment.segment_id == found.segment_id), None)

    def _folder(self, segment: Segment) -> SegmentFolder:
        return self._parts.layout.segment(segment.table_id, segment.segment_id)

    def _rewrite(self, name: str, segments: Sequence[Segment], *, was_indexed: bool) -> bool:
        collection = self._parts.catalog.known().collection(name)
        if _still_there(collection, segments) is None:
            return False  # superseded before its turn came, so its files may be gone
        row_bytes = collection.metric.vector_bytes(collection.dimension)
        sources = [self._read(segment, row_bytes) for segment in segments]
        new = _Rewritten(
            self._parts.layout.segment(segments[0].table_id, self._parts.ids.one()),
            segments[0].table_id,
            sum(len(source.kept) for source in sources),
            was_indexed=was_indexed,
        )
        done = False
        try:
            if new.rows:
                _write(new.folder, sources, row_bytes)
            done = self._commit(name, sources, new)
        finally:
            if not new.named:
                remove_unnamed(new.folder)
        return done

    def _read(self, segment: Segment, row_bytes: int) -> _Source:
        folder = self._folder(segment)
        with self._parts.layout.damaged.watch(folder.path):
            ids = folder.read_ids()
            folder.stored_vectors(np.uint8, row_bytes).verify()
            live = np.ones(len(ids), np.bool_)
            live[folder.read_deleted(ids)] = False
        return _Source(segment, folder, ids, np.flatnonzero(live))

    def _commit(self, name: str, sources: Sequence[_Source], new: _Rewritten) -> bool:
        with self._parts.locks.structure(name):
            try:
                collection = self._parts.catalog.refreshed().collection(name)
            except CollectionNotFound:
                return False
            current = _still_there(collection, [source.segment for source in sources])
            if current is None:
                return False
            late = _deleted_since(sources)
            if late.size:
                new.folder.write_deleted(late)
            left = new.rows - late.size
            # From here on the catalog may name the segment, whatever becomes of its answer.
            new.named = left > 0
            try:
                self._parts.files.replace(
                    [Expected.of(segment.file) for segment in current],
                    [segment.segment_id for segment in current],
                    [_new_file(collection, new, left)] if left else [],
                )
            except CatalogConflict:
                new.named = False
                return False
            self._parts.catalog.refreshed()
            return True


def _still_there(collection: Collection, segments: Sequence[Segment]) -> list[Segment] | None:
    """The segments as the catalog has them now; None where one is gone, or its index has come or gone."""
    by_id = {segment.segment_id: segment for segment in collection.segments}
    found = [by_id.get(segment.segment_id) for segment in segments]
    same = [
        now
        for now, segment in zip(found, segments, strict=True)
        if now is not None and now.file.file_type == segment.file.file_type
    ]
    return same if len(same) == len(segments) else None


def _write(folder: SegmentFolder, sources: Sequence[_Source], row_bytes: int) -> None:
    ids = np.concatenate([source.ids[source.kept] for source in sources])
    folder.write_raw_blocks(ids, _kept_vectors(sources, row_bytes), row_bytes)


def _kept_vectors(sources: Sequence[_Source], row_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """The vectors of the rows that are kept, a block at a time."""
    for source in sources:
        vectors = source.folder.stored_vectors(np.uint8, row_bytes)
        for start, block in blocks(vectors):
            first, last = np.searchsorted(source.kept, (start, start + len(block)))
            yield block if last - first == len(block) else block[source.kept[first:last] - start]


def _deleted_since(sources: Sequence[_Source]) -> NDArray[np.int32]:
    """Offsets in the new segment of rows that were deleted in a source after it was read."""
    late = []
    start = 0
    for source in sources:
        now = source.folder.read_deleted()
        late.append(start + np.flatnonzero(np.isin(source.kept, now)))
        start += len(source.kept)
    return np.concatenate(late).astype(np.int32)


def _new_file(collection: Collection, new: _Rewritten, left: int) -> NewFile:
    size = new.rows * (collection.metric.vector_bytes(collection.dimension) + 8)
    kind = FileType.TO_INDEX if new.was_indexed and left > MIN_ROWS_TO_INDEX else raw_file_type(collection, size)
    segment_id = new.folder.segment_id
    return NewFile(new.table_id, segment_id, segment_id, kind, IndexType(collection.index_type), size, left)
