"""The state of a node: read from its parts when Prometheus asks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from milvus_node.ingest.parts import WriteParts
from milvus_node.loops import Loop
from milvus_node.metrics import declarations as declared
from milvus_node.search.cache import SegmentCache
from mishards import __version__
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Snapshot
from mishards.metrics.instruments import family, single

_STATES = {FileType.TO_INDEX: "waiting", FileType.INDEX: "indexed"}


@dataclass(frozen=True, slots=True)
class Parts:
    """Whom to ask. What only a writable node has is asked for each time: it is not there from the beginning."""

    role: str
    cache: SegmentCache
    snapshots: SnapshotCache
    admitted: Callable[[], Mapping[str, int]]
    """Calls running or waiting, by pool."""
    writing: Callable[[], WriteParts | None]
    loops: Callable[[], Sequence[Loop]]
    log_skipped: Callable[[], int]
    leader_epoch: Callable[[], int]
    dropped_spans: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Totals:
    segments: Counter[str]
    rows: int
    nbytes: int


class NodeState(Collector):
    """Reads the parts of a node; from one thread at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._totals = -1, _Totals(Counter(), 0, 0)

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        parts = self._parts
        yield family(declared.IN_PROGRESS, [((pool,), number) for pool, number in parts.admitted().items()])
        yield single(declared.LOG_SKIPPED, parts.log_skipped())
        yield from self._cache()
        yield from self._catalog()
        writing = parts.writing()
        if writing is not None:
            yield single(declared.WAL_BYTES, writing.wal.size_bytes)
            yield single(declared.WAL_QUEUE, writing.wal.queued_bytes)
            yield single(declared.BUFFER_BYTES, writing.buffer.nbytes)
        yield single(declared.LEADER_EPOCH, parts.leader_epoch())
        yield from self._loops()
        yield single(declared.DROPPED_SPANS, parts.dropped_spans())
        yield family(declared.BUILD, [((__version__, parts.role), 1)])

    def _cache(self) -> Iterator[Family]:
        cache = self._parts.cache
        usage = cache.usage
        yield single(declared.CACHE_HITS, usage.hits)
        yield single(declared.CACHE_LOADS, usage.loads)
        yield single(declared.CACHE_EVICTIONS, usage.evictions)
        yield single(declared.CACHE_BYTES, usage.nbytes)
        yield single(declared.CACHE_CAPACITY, cache.capacity_bytes)
        yield single(declared.CACHE_SEGMENTS, usage.segments)
        yield single(declared.CACHE_ROWS, cache.rows)

    def _catalog(self) -> Iterator[Family]:
        cache = self._parts.snapshots
        yield family(declared.REFRESHES, [(("ok",), cache.reads - cache.failures), (("failed",), cache.failures)])
        yield single(declared.REFRESH_SECONDS, cache.read_s)
        yield single(declared.SNAPSHOT_AGE, cache.age_s)
        snapshot = cache.current
        if snapshot is None:
            return
        if self._totals[0] != snapshot.version:
            self._totals = snapshot.version, _totals(snapshot)
        totals = self._totals[1]
        yield single(declared.COLLECTIONS, len(snapshot.collections))
        states = ("raw", *_STATES.values())
        yield family(declared.SEGMENTS, [((state,), totals.segments[state]) for state in states])
        yield single(declared.ROWS, totals.rows)
        yield single(declared.BYTES, totals.nbytes)

    def _loops(self) -> Iterator[Family]:
        loops, snapshots, now = self._parts.loops(), self._parts.snapshots, time.monotonic()
        ages = [((loop.name,), now - loop.last_success) for loop in loops]
        yield family(declared.LOOP_AGE, [*ages, (("catalog-refresh",), snapshots.age_s)])
        failures = [((loop.name,), loop.failures) for loop in loops]
        yield family(declared.LOOP_FAILURES, [*failures, (("catalog-refresh",), snapshots.failures)])


def _totals(snapshot: Snapshot) -> _Totals:
    files = [segment.file for collection in snapshot.collections.values() for segment in collection.segments]
    states = Counter(_STATES.get(FileType(file.file_type), "raw") for file in files)
    return _Totals(states, sum(file.row_count for file in files), sum(file.file_size for file in files))
