"""Which node holds which segment, and what would move if a node left or joined; pure.

Both are computed by the routing that serves searches. Where there are many segments they are told by node, not singly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.kinds import IndexType, MetricType
from mishards.routing.api import Owner, Placement

MOST_CELLS = 1500
"""More segments than this are not told singly, unless one collection is asked for."""

Place = Callable[[Collection, tuple[Owner, ...]], Placement]
"""The owners, then the spares, of every segment of a collection."""

Cold = Callable[[str, Sequence[str]], Sequence[str]]
"""Of the nodes that shall hold a segment those that are still loading it."""


@dataclass(slots=True)
class Share:
    """What a node is given."""

    segments: int = 0
    rows: int = 0
    nbytes: int = 0

    def add(self, segment: Segment) -> None:
        """Count a segment."""
        self.segments += 1
        self.rows += segment.rows
        self.nbytes += segment.file.file_size


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment: ``owners`` hold it, the first is preferred; ``spares`` take over; ``loading`` are not warm yet."""

    segment_id: str
    partition: str
    rows: int
    nbytes: int
    indexed: bool
    owners: tuple[str, ...]
    spares: tuple[str, ...]
    loading: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection; ``segments`` is None where they are too many to be told singly."""

    name: str
    replicas: int
    replicas_set: bool
    """Was the number set while running, rather than configured?"""
    dimension: int
    metric: str
    index: str
    partitions: int
    total: Share
    shares: Mapping[str, Share]
    """What each node holds, replicas included."""
    segments: tuple[SegmentView, ...] | None


@dataclass(frozen=True, slots=True)
class PlacementView:
    """The placement of every collection of a snapshot over ``nodes``."""

    snapshot_version: int
    nodes: tuple[str, ...]
    collections: tuple[CollectionView, ...]


@dataclass(frozen=True, slots=True)
class Planner:
    """How segments are placed, and in how many copies."""

    place: Place
    replicas_of: Callable[[Collection], int]
    cold: Cold = lambda _segment, _owners: ()

    def view(self, snapshot: Snapshot, owners: tuple[Owner, ...], only: str = "") -> PlacementView:
        """The placement of a snapshot, or of one collection of it.

        Raises:
            CollectionNotFound: there is no collection ``only``.
        """
        chosen = [snapshot.collection(only)] if only else list(snapshot.collections.values())
        singly = bool(only) or sum(len(collection.segments) for collection in chosen) <= MOST_CELLS
        views = (self._collection(collection, owners, singly=singly) for collection in chosen)
        names = tuple(owner.name for owner in owners)
        return PlacementView(snapshot.version, names, tuple(sorted(views, key=lambda view: view.name)))

    def _collection(self, collection: Collection, owners: tuple[Owner, ...], *, singly: bool) -> CollectionView:
        placement, replicas = self.place(collection, owners), self.replicas_of(collection)
        shares: dict[str, Share] = defaultdict(Share)
        whole = Share()
        segments = []
        for partition in collection.partitions:
            for segment in partition.segments:
                names = placement[segment.segment_id]
                whole.add(segment)
                for name in names[:replicas]:
                    shares[name].add(segment)
                if singly:
                    segments.append(self._segment(segment, partition.tag, names, replicas))
        return CollectionView(
            name=collection.name,
            replicas=replicas,
            replicas_set=collection.replicas is not None,
            dimension=collection.dimension,
            metric=_name(MetricType, collection.table.metric_type),
            index=_name(IndexType, collection.table.engine_type),
            partitions=len(collection.partitions),
            total=whole,
            shares=dict(shares),
            segments=tuple(segments) if singly else None,
        )

    def _segment(self, segment: Segment, tag: str, names: Sequence[str], replicas: int) -> SegmentView:
        owners = tuple(names[:replicas])
        loading = tuple(self.cold(segment.segment_id, owners))
        size = segment.file.file_size
        spares = tuple(names[replicas:])
        return SegmentView(segment.segment_id, tag, segment.rows, size, segment.is_indexed, owners, spares, loading)

    def change(self, snapshot: Snapshot, before: tuple[Owner, ...], after: tuple[Owner, ...]) -> Change:
        """What would move if other nodes held the segments: each copy that a node would have to load."""
        moves: list[Move] = []
        gained: dict[str, Share] = defaultdict(Share)
        lost: dict[str, Share] = defaultdict(Share)
        copies = 0
        for collection in snapshot.collections.values():
            replicas = self.replicas_of(collection)
            old, new = self.place(collection, before), self.place(collection, after)
            for segment in collection.segments:
                had, gets = old[segment.segment_id][:replicas], new[segment.segment_id][:replicas]
                copies += len(had)
                to = tuple(name for name in gets if name not in had)
                away = tuple(name for name in had if name not in gets)
                _count(segment, to, gained)
                _count(segment, away, lost)
                if to or away:
                    moves.append(Move(collection.name, segment.segment_id, away, to))
        loaded = Share(*(sum(getattr(share, name) for share in gained.values()) for name in Share.__slots__))
        return Change(copies, loaded, dict(gained), dict(lost), tuple(moves[:MOST_CELLS]), len(moves) > MOST_CELLS)


def _count(segment: Segment, names: Iterable[str], shares: dict[str, Share]) -> None:
    for name in names:
        shares[name].add(segment)


def _name(kind: type[MetricType] | type[IndexType], number: int) -> str:
    try:
        return kind(number).name
    except ValueError:
        return str(number)


@dataclass(frozen=True, slots=True)
class Move:
    """A segment that other nodes would hold."""

    collection: str
    segment_id: str
    away: tuple[str, ...]
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of nodes would move."""

    copies: int
    """Copies of segments that there are, replicas counted."""
    loaded: Share
    """What nodes would have to load, all together."""
    gained: Mapping[str, Share]
    lost: Mapping[str, Share]
    moves: tuple[Move, ...]
    shortened: bool
    """Are there more moves than are told?"""
