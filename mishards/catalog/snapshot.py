"""One immutable view of the whole catalog, assembled from rows; pure.

A snapshot is what every decision of a request is made on. It holds, for each segment, the one file to search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from mishards.catalog.records import FileRecord, FileType, IdMode, ReplicaRecord, TableRecord, TableState
from mishards.errors import CollectionNotFound
from mishards.kinds import DEFAULT_TAG, IndexType, MetricType

_PREFERENCE: Final = (FileType.INDEX, FileType.TO_INDEX, FileType.RAW, FileType.BACKUP)
"""Which file of a segment is searched. BACKUP stands in where an index was just dropped and RAW is not yet back."""

_RAW: Final = (FileType.RAW, FileType.TO_INDEX, FileType.BACKUP)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment and the file of it to search; ``raw`` is its row of raw vectors, where that is not the same."""

    segment_id: str
    table_id: str
    file: FileRecord
    raw: FileRecord | None

    @property
    def rows(self) -> int:
        """Live rows."""
        return self.file.row_count

    @property
    def version(self) -> int:
        """Moves whenever rows are deleted."""
        return self.file.updated_time

    @property
    def is_indexed(self) -> bool:
        """Is the file to search an index file?"""
        return self.file.file_type == FileType.INDEX


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition; the default one is the collection's own row."""

    tag: str
    table: TableRecord
    segments: tuple[Segment, ...]

    @property
    def table_id(self) -> str:
        """Its internal name, which is also its folder."""
        return self.table.table_id

    @property
    def rows(self) -> int:
        """Live flushed rows."""
        return sum(segment.rows for segment in self.segments)


@dataclass(frozen=True)
class Collection:
    """A collection with its partitions, the default one first, then in order of creation."""

    table: TableRecord
    partitions: tuple[Partition, ...]
    replicas: int | None = None
    """How many nodes shall hold each segment; None where the configuration says it."""

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.table.table_id

    @property
    def dimension(self) -> int:
        """Components of a vector (bits, for binary metrics)."""
        return self.table.dimension

    @cached_property
    def metric(self) -> MetricType:
        """The metric it was made with."""
        return MetricType(self.table.metric_type)

    @cached_property
    def index_type(self) -> IndexType:
        """The index asked for, as the catalog numbers it (binary kinds are 9 and 10)."""
        return IndexType(self.table.engine_type)

    @property
    def index_params(self) -> str:
        """The JSON object given to CreateIndex; ``{}`` without an index."""
        return self.table.index_params or "{}"

    @property
    def id_mode(self) -> IdMode:
        """Who gives the ids."""
        return IdMode(self.table.flag)

    @cached_property
    def partition_tags(self) -> tuple[str, ...]:
        """All tags, ``_default`` first."""
        return tuple(partition.tag for partition in self.partitions)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments of every partition."""
        return tuple(segment for partition in self.partitions for segment in partition.segments)

    @property
    def rows(self) -> int:
        """Live flushed rows over all partitions."""
        return sum(partition.rows for partition in self.partitions)

    def partition(self, tag: str) -> Partition | None:
        """The partition of exactly this tag."""
        return next((partition for partition in self.partitions if partition.tag == tag), None)


@dataclass(frozen=True)
class Snapshot:
    """The catalog as one read saw it.

    ``version`` rises by one whenever the content differs from the snapshot before, within one process; ``taken_at`` is
    the monotonic time, in seconds, at which the read began, so everything committed before that is in it; ``revision``
    is the writer's own count of changes, the same in every process, and 0 where a Milvus server writes the catalog;
    ``drained`` are the names of the nodes that an operator has drained, and no part of what the version counts.
    """

    version: int
    taken_at: float
    collections: Mapping[str, Collection]
    revision: int = 0
    drained: frozenset[str] = frozenset()

    def collection(self, name: str) -> Collection:
        """The collection of that name; partitions' internal names are no collections.

        Raises:
            CollectionNotFound: there is none.
        """
        collection = self.collections.get(name)
        if collection is None:
            raise CollectionNotFound(name)
        return collection

    @cached_property
    def segments_by_file(self) -> Mapping[int, Segment]:
        """Every file row that can be searched now → its segment, over all collections."""
        found = {}
        for collection in self.collections.values():
            for segment in collection.segments:
                found[segment.file.id] = segment
                if segment.raw is not None:
                    found[segment.raw.id] = segment
        return found


def assemble(
    tables: Iterable[TableRecord], files: Iterable[FileRecord], replicas: Iterable[ReplicaRecord] = ()
) -> dict[str, Collection]:
    """Collections in order of creation from rows of any order."""
    segments = _segments(files)
    numbers = {(row.collection, row.created_on): row.replicas for row in replicas}
    roots = []
    partitions: dict[str, list[TableRecord]] = defaultdict(list)
    for table in sorted(tables, key=lambda row: row.id):
        if table.state != TableState.NORMAL:
            continue
        if table.owner_table:
            partitions[table.owner_table].append(table)
        else:
            roots.append(table)
    return {
        root.table_id: Collection(
            root,
            (
                Partition(DEFAULT_TAG, root, segments.get(root.table_id, ())),
                *(
                    Partition(row.partition_tag, row, segments.get(row.table_id, ()))
                    for row in partitions[root.table_id]
                ),
            ),
            numbers.get((root.table_id, root.created_on)),
        )
        for root in roots
    }


def _segments(files: Iterable[FileRecord]) -> dict[str, tuple[Segment, ...]]:
    by_segment: dict[tuple[str, str], list[FileRecord]] = defaultdict(list)
    for file in sorted(files, key=lambda row: row.id):
        by_segment[file.table_id, file.segment_id].append(file)
    by_table: dict[str, list[Segment]] = defaultdict(list)
    for (table_id, segment_id), group in by_segment.items():
        chosen = _chosen(group)
        if chosen is not None:
            raw = next((file for file in group if file.file_type in _RAW and file is not chosen), None)
            by_table[table_id].append(Segment(segment_id, table_id, chosen, raw))
    return {table_id: tuple(found) for table_id, found in by_table.items()}


def _chosen(group: Sequence[FileRecord]) -> FileRecord | None:
    for wanted in _PREFERENCE:
        # Where a re-build left two index files, the later row is the one that stays.
        for file in reversed(group):
            if file.file_type == wanted:
                return file
    return None


def in_merge_gap(
    previous: Snapshot | None, collections: Mapping[str, Collection], files: Iterable[FileRecord]
) -> frozenset[str]:
    """The collections of which this read fell between the statements of a merge by a real Milvus writer.

    Such a writer marks the sources TO_DELETE one by one *before* it shows the merged file, which stands as NEW_MERGE
    all the while. So: a segment that was visible is not, and it was marked after a merge of its table began that has
    not ended. Whether other segments have come meanwhile says nothing: a merge mostly follows a flush. A legitimate
    disappearance beside a NEW_MERGE row that a crash left behind looks the same, so callers bound how often they
    believe it.
    """
    began: dict[str, int] = {}
    marked: dict[tuple[str, str], int] = {}
    for file in files:
        if file.file_type == FileType.NEW_MERGE:
            began[file.table_id] = min(file.created_on, began.get(file.table_id, file.created_on))
        elif file.file_type == FileType.TO_DELETE:
            key = file.table_id, file.segment_id
            marked[key] = max(file.updated_time, marked.get(key, 0))
    if previous is None or not began:
        return frozenset()
    return frozenset(
        name
        for name, old in previous.collections.items()
        if any(
            key in marked and key[0] in began and marked[key] >= began[key[0]]
            for key in _lost(old, collections.get(name))
        )
    )


def _lost(old: Collection, new: Collection | None) -> set[tuple[str, str]]:
    """Table and name of the segments that were visible and are not, in partitions that still exist."""
    if new is None:
        return set()
    tables = {partition.table.id for partition in new.partitions}
    now = {(segment.table_id, segment.segment_id) for segment in new.segments}
    before = (segment for partition in old.partitions if partition.table.id in tables for segment in partition.segments)
    return {(segment.table_id, segment.segment_id) for segment in before} - now
