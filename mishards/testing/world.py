"""A catalog and its vectors in memory: what a database and a shared folder hold for real nodes.

Everything may be changed between two calls, as a writer at work would; ``snapshot`` is what a read of the database
would give at that moment. The truth of a search is computed from the very same arrays.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mishards.catalog.records import FileRecord, FileType, ReplicaRecord, TableRecord, TableState
from mishards.catalog.snapshot import Collection, Snapshot, assemble
from mishards.errors import CatalogUnavailable
from mishards.kinds import IndexType, MetricType

Vectors = NDArray[np.float32]


class World:
    """Tables, files and rows. Belongs to one thread, but for ``read``."""

    def __init__(self) -> None:
        self.tables: dict[str, TableRecord] = {}
        self.files: dict[int, FileRecord] = {}
        self.rows: dict[str, tuple[NDArray[np.int64], Vectors]] = {}
        """Segment id → live rows."""
        self.replicas: dict[str, int] = {}
        self.drained: frozenset[str] = frozenset()
        """Collection → replica number that was set for it."""
        self.away = False
        """The database does not answer."""
        self.reads = 0
        self._numbers = itertools.count(1)
        self._names = itertools.count(1_795_311_037_998_941_000, 1_000)

    def create(
        self,
        name: str,
        dimension: int = 4,
        metric: MetricType = MetricType.L2,
        index_type: IndexType = IndexType.FLAT,
        owner: str = "",
        tag: str = "",
    ) -> str:
        """Add a collection, or with ``owner`` and ``tag`` a partition of one; returns its table's name."""
        number = next(self._numbers)
        self.tables[name] = TableRecord(
            number, name, TableState.NORMAL, dimension, number, 0, 1 << 30, index_type, "{}", metric, owner, tag, "", 0
        )
        return name

    def partition(self, collection: str, tag: str) -> str:
        """Add a partition; returns its internal name."""
        table = self.tables[collection]
        return self.create(
            str(next(self._names)), table.dimension, MetricType(table.metric_type), IndexType.FLAT, collection, tag
        )

    def drop(self, name: str) -> None:
        """Drop a collection or a partition with its files."""
        self.tables = {key: row for key, row in self.tables.items() if name not in (key, row.owner_table)}
        self.files = {key: row for key, row in self.files.items() if row.table_id in self.tables}

    def add(
        self, table: str, ids: Sequence[int] | NDArray[np.int64], vectors: Vectors, file_type: FileType = FileType.RAW
    ) -> FileRecord:
        """Add a segment with one file."""
        segment = str(next(self._names))
        self.rows[segment] = np.asarray(ids, np.int64), np.asarray(vectors, np.float32)
        return self.add_file(table, segment, file_type)

    def add_file(self, table: str, segment: str, file_type: FileType) -> FileRecord:
        """Add a file of a segment whose rows are there."""
        number, count = next(self._numbers), len(self.rows[segment][0])
        record = FileRecord(number, table, segment, 1, segment, file_type, count * 24, count, number, number, 0, 0)
        self.files[number] = record
        return record

    def become(self, file: FileRecord, file_type: FileType) -> None:
        """Change the type of a file."""
        self.files[file.id] = replace(self.files[file.id], file_type=file_type)

    def remove(self, file: FileRecord) -> None:
        """Remove a file's row, as the clean-up does."""
        del self.files[file.id]

    def delete(self, file: FileRecord, *ids: int) -> None:
        """Delete rows of a segment, as a flush of deletes does: fewer rows, and a newer time on each of its files."""
        kept = ~np.isin(self.rows[file.segment_id][0], ids)
        self.rows[file.segment_id] = tuple(array[kept] for array in self.rows[file.segment_id])  # type: ignore[assignment]  # still two
        now = next(self._numbers)
        for number, row in self.files.items():
            if row.segment_id == file.segment_id:
                self.files[number] = replace(row, row_count=int(kept.sum()), updated_time=now)

    def merge(self, table: str, *sources: FileRecord, clean_up: bool = True) -> FileRecord:
        """Replace segments by one of all their rows; their files are cleaned up, or stay TO_DELETE."""
        parts = [self.rows[source.segment_id] for source in sources]
        merged = self.add(table, np.concatenate([ids for ids, _ in parts]), np.concatenate([v for _, v in parts]))
        for source in sources:
            if clean_up:
                self.remove(source)
            else:
                self.become(source, FileType.TO_DELETE)
        return merged

    def read(self, previous: Snapshot | None) -> Snapshot:
        """What the snapshot cache calls."""
        self.reads += 1
        if self.away:
            raise CatalogUnavailable("the world's database was told to be away")
        taken_at = time.monotonic()
        numbers = [ReplicaRecord(name, self.tables[name].created_on, n) for name, n in list(self.replicas.items())]
        collections = assemble(list(self.tables.values()), list(self.files.values()), numbers)
        if previous is not None and collections == previous.collections:
            return Snapshot(previous.version, taken_at, previous.collections, drained=self.drained)
        return Snapshot(1 if previous is None else previous.version + 1, taken_at, collections, drained=self.drained)

    def record_replicas(self, collection: Collection, number: int | None) -> None:
        """What a router calls to set a replica number."""
        if self.away:
            raise CatalogUnavailable("the world's database was told to be away")
        if number is None:
            self.replicas.pop(collection.name, None)
        else:
            self.replicas[collection.name] = number

    def record_drain(self, node: str, drained: bool) -> None:
        """What a router calls to drain a node, or to take it back."""
        if self.away:
            raise CatalogUnavailable("the world's database was told to be away")
        self.drained = self.drained | {node} if drained else self.drained - {node}

    def live(self, collection: str, tags: Sequence[str] = ()) -> tuple[NDArray[np.int64], Vectors]:
        """Ids and vectors of every row that a search should see now."""
        found = assemble(list(self.tables.values()), list(self.files.values()))[collection]
        parts = [self.rows[s.segment_id] for p in found.partitions if not tags or p.tag in tags for s in p.segments]
        if not parts:
            return np.empty(0, np.int64), np.empty((0, found.dimension), np.float32)
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])


def nearest(
    ids: NDArray[np.int64], vectors: Vectors, queries: Vectors, topk: int, metric: MetricType
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The naive search: int64[nq, k] and float32[nq, k], by distance, then by id; k is at most the number of rows."""
    if metric is MetricType.IP:
        distances = queries @ vectors.T
        keys = -distances
    else:
        distances = ((queries[:, None, :] - vectors[None, :, :]) ** 2).sum(axis=2)
        keys = distances
    order = np.stack([np.lexsort((ids, row))[:topk] for row in keys])
    return ids[order], np.take_along_axis(distances, order, axis=1).astype(np.float32)


def truth(world: World, collection: str, queries: Vectors, topk: int, tags: Sequence[str] = ()) -> Mapping[str, object]:
    """Ids and distances, as lists a query, that a right answer has now."""
    ids, vectors = world.live(collection, tags)
    metric = MetricType(world.tables[collection].metric_type)
    found, distances = nearest(ids, vectors, queries, topk, metric)
    return {"ids": found.tolist(), "distances": distances.tolist()}
