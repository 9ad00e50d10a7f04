"""Routing ``consistent_hash``: a ring over segment ids, with bounded loads.

Features: weights yes; replicas yes; balance bound 1.25; zones no.

Options:
    ``points``: points a node of weight 1 has on the ring, default 256.

How the ring places is told in ``ring``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mishards.routing.api import Owner, Placeable, Placement
from mishards_plugins.routing.ring import DEFAULT_POINTS, placed, points_of


class ConsistentHash:
    """Consistent hashing with bounded loads. Immutable; safe to use from any thread."""

    def __init__(self, points: int = DEFAULT_POINTS) -> None:
        self._points = points

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """Place the segments of one collection."""
        return placed(segments, owners, count, self._points)


class ConsistentHashPlugin:
    """The entry point's object."""

    def routing(self, options: Mapping[str, str]) -> ConsistentHash:
        """A ring with these options."""
        return ConsistentHash(points_of(options, "consistent_hash"))


plugin = ConsistentHashPlugin()
