"""How placement spreads the data over the nodes; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mishards.catalog.snapshot import Collection, Snapshot
from mishards.routing.api import Owner, Placement

Place = Callable[[Collection, tuple[Owner, ...]], Placement]
"""The owners, then the spares, of every segment of a collection."""


@dataclass(slots=True)
class Share:
    """What a node is given."""

    segments: int = 0
    rows: int = 0
    nbytes: int = 0

    def __iadd__(self, other: Share) -> Share:
        """Add another share."""
        self.segments += other.segments
        self.rows += other.rows
        self.nbytes += other.nbytes
        return self


@dataclass(frozen=True, slots=True)
class Spread:
    """Shares by node; and, for each set of owners, how many segments they hold and how many should hold them."""

    shares: dict[str, Share] = field(default_factory=dict)
    held: Counter[tuple[tuple[str, ...], int]] = field(default_factory=Counter)
    segments: int = 0
    rows: int = 0


def spread_of(collection: Collection, placement: Placement, replicas: int) -> Spread:
    """How one collection is spread."""
    together: dict[tuple[str, ...], Share] = defaultdict(Share)
    for segment in collection.segments:
        share = together[placement[segment.segment_id][:replicas]]
        share.segments += 1
        share.rows += segment.rows
        share.nbytes += segment.file.file_size
    shares: dict[str, Share] = defaultdict(Share)
    for owners, share in together.items():
        for name in owners:
            shares[name] += share
    held = Counter({(owners, replicas): share.segments for owners, share in together.items()})
    segments, rows = len(collection.segments), sum(share.rows for share in together.values())
    return Spread(dict(shares), held, segments, rows)


def total(spreads: Iterable[Spread]) -> Spread:
    """How all of them are spread together."""
    shares: dict[str, Share] = defaultdict(Share)
    held: Counter[tuple[tuple[str, ...], int]] = Counter()
    segments = rows = 0
    for spread in spreads:
        for name, share in spread.shares.items():
            shares[name] += share
        held.update(spread.held)
        segments += spread.segments
        rows += spread.rows
    return Spread(dict(shares), held, segments, rows)


def imbalance(spread: Spread, names: Sequence[str]) -> float:
    """Rows of the fullest of these nodes, divided by the mean of all; 1 where there is nothing to spread."""
    rows = [spread.shares[name].rows if name in spread.shares else 0 for name in names]
    return max(rows) * len(rows) / sum(rows) if sum(rows) else 1.0


def deficit(spread: Spread, in_service: Callable[[str], bool]) -> int:
    """Replicas that should be held, less those that nodes in service hold."""
    return sum(
        segments * max(0, replicas - sum(map(in_service, owners)))
        for (owners, replicas), segments in spread.held.items()
    )


class Spreads:
    """Keeps what was computed for collections and owners that have not changed. Safe from any thread."""

    def __init__(self, place: Place, replicas_of: Callable[[Collection], int]) -> None:
        """``place`` is called from any thread."""
        self._place = place
        self._replicas_of = replicas_of
        self._kept: tuple[tuple[Owner, ...], dict[str, tuple[Collection, Spread]]] = (), {}

    def now(self, snapshot: Snapshot, owners: tuple[Owner, ...]) -> Spread:
        """How a snapshot is spread over these owners."""
        kept_owners, kept = self._kept
        if owners != kept_owners:
            kept = {}
        found = {}
        for name, collection in snapshot.collections.items():
            known = kept.get(name)
            if known is not None and known[0] is collection:
                found[name] = known
            else:
                placement = self._place(collection, owners)
                found[name] = collection, spread_of(collection, placement, self._replicas_of(collection))
        self._kept = owners, found
        return total(spread for _, spread in found.values())
