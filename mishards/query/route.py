"""Which nodes hold the segments of a search: computed once per snapshot and membership, shared by all searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from mishards.catalog.snapshot import Collection, Partition, Segment, Snapshot
from mishards.errors import InvalidFileId
from mishards.query.options import RoutingOptions
from mishards.routing.api import Owner, Placeable, Placement, Routing
from mishards.wire.names import match_tags


@dataclass(frozen=True, slots=True)
class Group:
    """Segments with the same owners, the preferred one first."""

    owners: tuple[str, ...]
    segments: tuple[Segment, ...]
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The segments of a search, by owners.

    ``placement`` has, for each segment, its owners, which are the first ``replicas``, and who takes over from them.
    """

    segments: tuple[Segment, ...]
    groups: tuple[Group, ...]
    placement: Placement
    replicas: int

    def segments_by_owner(self) -> Iterator[Segment]:
        """The segments, group by group."""
        return chain.from_iterable(group.segments for group in self.groups)


def selected(collection: Collection, tags: Sequence[str]) -> tuple[Partition, ...]:
    """The partitions that the tags of a search select. Raises PartitionError as ``match_tags`` does."""
    chosen = frozenset(match_tags(tags, collection.partition_tags[1:]))
    return tuple(partition for partition in collection.partitions if partition.tag in chosen)


def grouped(segments: Sequence[Segment], placement: Placement, replicas: int) -> Route:
    """Order the segments by owners, the first ``replicas`` nodes placed for each; segments in the order of file ids."""
    groups: dict[tuple[str, ...], list[Segment]] = defaultdict(list)
    for segment in sorted(segments, key=lambda segment: segment.file.id):
        groups[placement[segment.segment_id][:replicas]].append(segment)
    return Route(
        tuple(segments),
        tuple(Group(owners, tuple(found), sum(s.rows for s in found)) for owners, found in groups.items()),
        placement,
        replicas,
    )


def restricted(route: Route, snapshot: Snapshot, files: frozenset[int]) -> Route:
    """Only the segments of these file rows; ids that nobody knows are passed over, as the protocol has it.

    Raises:
        InvalidFileId: nobody knows any of them.
    """
    known = snapshot.segments_by_file
    wanted = {known[number].segment_id for number in files if number in known}
    segments = tuple(segment for segment in route.segments if segment.segment_id in wanted)
    if not segments:
        raise InvalidFileId("Invalid file id")
    groups = []
    for group in route.groups:
        kept = tuple(segment for segment in group.segments if segment.segment_id in wanted)
        if kept:
            groups.append(Group(group.owners, kept, sum(segment.rows for segment in kept)))
    return Route(segments, tuple(groups), route.placement, route.replicas)


class Routes:
    """Keeps what was computed for the newest snapshot and owners."""

    def __init__(self, routing: Routing, options: RoutingOptions) -> None:
        self._routing = routing
        self._options = options
        self._key: tuple[int, tuple[Owner, ...]] = (-1, ())
        self._routes: dict[tuple[str, tuple[str, ...]], Route] = {}
        self._placements: dict[str, tuple[tuple[int, tuple[str, ...], tuple[Owner, ...]], Placement]] = {}

    def route(
        self, snapshot: Snapshot, collection: Collection, tags: Sequence[str], owners: tuple[Owner, ...]
    ) -> Route:
        """Where the segments of a search are. Raises PartitionError when the tags select nothing."""
        if (snapshot.version, owners) != self._key:
            self._key, self._routes = (snapshot.version, owners), {}
            for gone in self._placements.keys() - snapshot.collections.keys():
                del self._placements[gone]
        wanted = (collection.name, tuple(tags))
        route = self._routes.get(wanted)
        if route is None:
            segments = tuple(segment for part in selected(collection, tags) for segment in part.segments)
            route = grouped(segments, self.placement(collection, owners), self.replicas_of(collection))
            if len(self._routes) >= 4096:  # as many tags as a client cares to invent
                self._routes.clear()
            self._routes[wanted] = route
        return route

    def placement(self, collection: Collection, owners: tuple[Owner, ...]) -> Placement:
        """Owners, then spares, of every segment of a collection."""
        count = self.replicas_of(collection) + self._options.spares
        key = count, tuple(segment.segment_id for segment in collection.segments), owners
        kept = self._placements.get(collection.name)
        if kept is not None and kept[0] == key:
            return kept[1]
        placement = self._routing.assign(_placeables(collection), owners, count)
        self._placements[collection.name] = (key, placement)
        return placement

    def replicas_of(self, collection: Collection) -> int:
        """How many nodes hold each segment of a collection: what was set for it, else what is configured."""
        return collection.replicas or self._options.replicas_of(collection.name)


def _placeables(collection: Collection) -> list[Placeable]:
    return [
        Placeable(segment.segment_id, collection.name, partition.tag, segment.rows)
        for partition in collection.partitions
        for segment in partition.segments
    ]
