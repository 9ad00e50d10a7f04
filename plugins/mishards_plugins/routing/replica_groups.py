"""Routing ``replica_groups``: every group of nodes holds everything once, so that one group can answer a whole search.

Features: weights yes, within a group; replicas one a group; balance bound 1.25 within a group; zones are the groups.

Options:
    ``points``: points a node of weight 1 has on the ring of its group, default 256.

The zone that a node announces names its group. Set ``routing.replicas`` to the number of groups. A segment's list goes
through the groups, in an order that the collection's name decides, and then through them again for who takes over; so
a balancing that turns the lists (``round_robin``, ``random``) sends a search to one group and leaves it only for what a
lost node held. A node that joins or leaves moves segments within its own group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import md5
from itertools import chain, zip_longest

from mishards.routing.api import Owner, Placeable, Placement
from mishards_plugins.routing.ring import DEFAULT_POINTS, placed, points_of


class ReplicaGroups:
    """A ring for each group. Immutable; safe to use from any thread."""

    def __init__(self, points: int = DEFAULT_POINTS) -> None:
        self._points = points

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """Place the segments of one collection in every group."""
        members: dict[str, list[Owner]] = defaultdict(list)
        for owner in owners:
            members[owner.zone].append(owner)
        names = sorted(members)
        rings = {name: placed(segments, members[name], count, self._points) for name in names}
        chosen = {}
        for segment in segments:
            key = segment.segment_id
            turn = turn_of(segment.collection, len(names))
            lists = [rings[name][key] for name in names[turn:] + names[:turn]]
            chosen[key] = tuple(node for node in chain(*zip_longest(*lists)) if node is not None)[:count]
        return chosen


def turn_of(collection: str, groups: int) -> int:
    """Which group a collection's lists begin with, so that several collections begin with different ones."""
    digest = md5(collection.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") % groups if groups else 0


class ReplicaGroupsPlugin:
    """The entry point's object."""

    def routing(self, options: Mapping[str, str]) -> ReplicaGroups:
        """Rings with these options."""
        return ReplicaGroups(points_of(options, "replica_groups"))


plugin = ReplicaGroupsPlugin()
