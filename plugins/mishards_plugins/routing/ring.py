"""The ring that routing plugins place by: consistent hashing with bounded loads; pure.

Each node stands on the ring at ``points`` x weight places (MD5 of ``NAME-NUMBER``, all 128 bits); a segment's order
of preference is the order in which nodes are met clockwise from the MD5 of its id. Copies are dealt out round by
round, oldest segment first (ids rise with time): each takes the first node in its order that does not hold it yet and
is not full. A node is full at its share of the copies dealt so far, rounded up, or at 1.25 times it where that is
more. So small collections are spread evenly, large ones stay within the bound, and a segment is only ever placed away
from the ring's choice where a node would have overflowed: adding or removing one of N nodes moves about 1/N of the
segments.

The ring is Karger's (1997), the bound Mirrokni's, Thorup's and Zadimoghaddam's (2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from uhashring import HashRing  # type: ignore[import-untyped]  # the library ships no annotations

from mishards.errors import PluginError
from mishards.routing.api import Owner, Placeable, Placement

DEFAULT_POINTS = 256
"""Points of a node of weight 1."""

BOUND = 1.25
"""How far above its share a node may be filled."""


def placed(segments: Sequence[Placeable], owners: Sequence[Owner], count: int, points: int) -> Placement:
    """Place the segments of one collection."""
    members = tuple(sorted(set(owners), key=lambda owner: owner.name))
    chosen: dict[str, tuple[str, ...]] = {segment.segment_id: () for segment in segments}
    keys = sorted(chosen, key=lambda key: (len(key), key))
    orders = {key: order(key, members, points) for key in keys}
    loads = dict.fromkeys((owner.name for owner in members), 0)
    for copies in range(1, min(count, len(members)) + 1):
        room = capacities(members, copies * len(keys))
        for key in keys:
            name = _first_with_room(orders[key], chosen[key], loads, room)
            chosen[key] += (name,)
            loads[name] += 1
    return chosen


def capacities(owners: Sequence[Owner], copies: int) -> dict[str, int]:
    """How many of so many copies each node may hold; they sum up to at least ``copies``."""
    total = sum(owner.weight for owner in owners)
    shares = {owner.name: copies * owner.weight / total for owner in owners}
    return {name: max(math.ceil(share), math.floor(BOUND * share)) for name, share in shares.items()}


@lru_cache(maxsize=65536)
def order(key: str, owners: tuple[Owner, ...], points: int) -> tuple[str, ...]:
    """The nodes in the order in which they are met clockwise from the key."""
    return tuple(ring(owners, points).iterate_nodes(key)) if owners else ()


@lru_cache(maxsize=8)
def ring(owners: tuple[Owner, ...], points: int) -> HashRing:
    """The ring of these nodes."""
    return HashRing({owner.name: {"vnodes": max(1, round(points * owner.weight))} for owner in owners})


def _first_with_room(
    candidates: tuple[str, ...], held: tuple[str, ...], loads: Mapping[str, int], room: Mapping[str, int]
) -> str:
    free = [name for name in candidates if name not in held]
    return next((name for name in free if loads[name] < room[name]), None) or min(
        free, key=lambda name: loads[name] / room[name]
    )


def points_of(options: Mapping[str, str], routing: str) -> int:
    """The option ``points``, which is the only one. Raises PluginError."""
    unknown = sorted(set(options) - {"points"})
    if unknown:
        raise PluginError(f"routing {routing} has no option {unknown[0]!r}; it has points")
    given = options.get("points", str(DEFAULT_POINTS))
    if not given.isdecimal() or not 1 <= int(given) <= 100_000:
        raise PluginError(f"routing {routing}: points is {given!r}, expected a number, 1 to 100000")
    return int(given)
