"""What routing plugins implement: which nodes should hold a segment.

Placement follows who *exists* and never who is *well*: a node that stops answering keeps its segments and is passed
over by the plan, so that a flapping node empties no cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Owner:
    """A node that may hold segments. ``weight`` is its share relative to the others."""

    name: str
    weight: float = 1.0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Placeable:
    """A segment to place."""

    segment_id: str
    collection: str = ""
    partition: str = ""
    rows: int = 0


Placement = Mapping[str, tuple[str, ...]]
"""Segment id → names of nodes, in order of preference."""


class Routing(Protocol):
    """Assigns segments to nodes; pure.

    1. The answer depends on nothing but the arguments: not on their order, the process, the platform or the version.
    2. Every segment gets ``min(count, len(owners))`` different nodes; none without owners.
    3. Asking for fewer gives the beginning of the same lists.
    4. A node joins the lists of some segments when it is added; what changes otherwise is bounded (see the plugin).
    5. With 100 copies a node, no node holds more than 1.25 times its share of them by weight; nor, unless the plugin
       says otherwise, is it first for more than 1.25 times its share of the segments.
    """

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """Place the segments of one collection."""
        ...


class RoutingPlugin(Protocol):
    """The object that an entry point of the group ``mishards.routing`` names."""

    def routing(self, options: Mapping[str, str]) -> Routing:
        """A routing with these options. Raises PluginError when they cannot be used."""
        ...
