"""Settings of the read side."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mishards.options import about
from mishards.query.hedge import HedgeOptions

MAX_REPLICAS = 64


class Consistency(str, enum.Enum):
    """How new the data of a search must be."""

    STRONG = "strong"
    """Every write acknowledged before the search began is seen."""
    SESSION = "session"
    """The writes that went through this router are seen, and the snapshot is bounded."""
    BOUNDED = "bounded"
    """The snapshot is no older than ``graceful_time_ms``."""
    EVENTUALLY = "eventually"
    """The snapshot at hand."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Searches."""

    deadline_ms: int = field(default=60_000, metadata=about("time for a search whose client set none", minimum=1))
    consistency: Consistency = field(
        default=Consistency.SESSION, metadata=about("level of searches that name none in consistency_level")
    )
    graceful_time_ms: int = field(
        default=1_000, metadata=about("how old a snapshot may be at levels bounded and session", minimum=0)
    )
    metadata_wait_ms: int = field(
        default=1_000, metadata=about("longest wait for a newer snapshot before the last good one serves", minimum=0)
    )
    node_wait_ms: int = field(
        default=5_000, metadata=about("longest wait for a node when none can be asked", minimum=0)
    )
    max_results: int = field(
        default=0, metadata=about("most results a search may ask for, query vectors x topk; 0 is no limit", minimum=0)
    )
    partial: bool = field(
        default=False,
        metadata=about("answer without the segments that no node can search, and say so, instead of failing"),
    )
    verify: bool = field(
        default=True,
        metadata=about("read the catalog again after a search on nodes that may pass over vanished files in silence"),
    )
    hedge: HedgeOptions = field(default_factory=HedgeOptions)


@dataclass(frozen=True, slots=True)
class RoutingOptions:
    """Placement of segments and choice among replicas."""

    plugin: str = field(default="consistent_hash", metadata=about("routing plugin"))
    plugin_options: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), metadata=about("options of the routing plugin")
    )
    balancing: str = field(default="adaptive", metadata=about("balancing plugin, chooses among replicas"))
    replicas: int = field(default=1, metadata=about("nodes that hold each segment", minimum=1, maximum=MAX_REPLICAS))
    replicas_by_collection: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({}), metadata=about("the same for single collections, NAME=NUMBER")
    )
    spares: int = field(
        default=1, metadata=about("further nodes, fixed in advance, that take over from failed ones", minimum=0)
    )

    warm_up: bool = field(
        default=True, metadata=about("have nodes load segments that they hold anew before they get searches for them")
    )
    restore_after_ms: int = field(
        default=10_000, metadata=about("a node gone for so long is lost: others load what it held", minimum=0)
    )

    def replicas_of(self, collection: str) -> int:
        """How many nodes hold each segment of a collection, unless a number was set for it."""
        return self.replicas_by_collection.get(collection, self.replicas)
