"""Whom to ask for the segments of a search: placement filtered by health, then balanced.

Belongs to the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from mishards.catalog.snapshot import Segment
from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import NoSearchNode
from mishards.query.holders import Holders
from mishards.query.part import Next
from mishards.query.route import Group, Route
from mishards.query.share import Share
from mishards.routing.api import Owner
from mishards.routing.balance import Balancing, Load, Work
from mishards.wire.extensions import STRICT_FILES

_MOST_KEPT: Final = 1024


class Choice:
    """Chooses nodes for searches."""

    def __init__(self, fleet: Fleet, balancing: Balancing, holders: Holders) -> None:
        self._fleet = fleet
        self._holders = holders
        self._balancing = balancing
        self._kept: dict[Route, list[Share]] = {}
        self._groups: dict[Route, list[Group]] = {}
        self._kept_at = (-1, -1)

    def owners(self) -> tuple[Owner, ...]:
        """Who may hold segments now."""
        return self._fleet.membership.owners()

    async def wait_for_news(self, deadline: Deadline) -> None:
        """Return when the choice may have become another, or at the deadline."""
        await self._fleet.wait_for_news(deadline)

    @property
    def state(self) -> tuple[int, int]:
        """Differs from what it was where the choice may have become another."""
        self._fleet.follow()
        return self._fleet.news, self._holders.version

    def all_have(self, capabilities: frozenset[str]) -> bool:
        """Has every node of the cluster said that it has these?"""
        return all(capabilities <= node.capabilities for node in self._fleet)

    def is_lenient(self, name: str) -> bool:
        """Does a node pass over files that it does not know, instead of refusing them?"""
        node = self._fleet.get(name)
        return node is None or STRICT_FILES not in node.capabilities

    def first(self, route: Route, avoid: frozenset[str] = frozenset()) -> list[Share]:
        """Whom to ask first: one share a node, segments in the order of file ids.

        Nodes in ``avoid`` are asked only where nobody else is left.

        Raises:
            NoSearchNode: there is no node at all.
        """
        state = self.state
        if self._kept_at != state or max(len(self._kept), len(self._groups)) > _MOST_KEPT:
            self._kept_at, self._kept, self._groups = state, {}, {}
        parts = self._kept.get(route) if not avoid else None
        if parts is None:
            parts, is_choice = self._chosen(route, avoid)
            if not is_choice and not avoid:
                self._kept[route] = parts
        return parts

    def fixed(self, route: Route) -> list[Share] | None:
        """What ``first`` says of a route for as long as ``state`` is the same; None where it is balanced each time."""
        return self._kept.get(route) if self._kept_at == self.state else None

    def _chosen(self, route: Route, avoid: frozenset[str]) -> tuple[list[Share], bool]:
        """The parts, and whether there was anything to balance: if not, the next search gets the same."""
        wanted: dict[str, list[Segment]] = {}
        balanced, works = [], []
        for group in self._held_groups(route, avoid):
            if group.owners:
                balanced.append(group)
                works.append(Work(group.owners, group.rows))
            else:
                self._place_singly(route, group, avoid, wanted)
        if works:
            loads = {name: self._load(name) for work in works for name in work.owners}
            for group, name in zip(balanced, self._balancing.choose(works, loads), strict=True):
                wanted.setdefault(name, []).extend(group.segments)
        parts = [Share.of(self._known(name), _in_order(segments)) for name, segments in sorted(wanted.items())]
        return parts, any(len(work.owners) > 1 for work in works)

    def following(self, route: Route, avoid: frozenset[str] = frozenset()) -> Next:
        """Whom to ask for a segment of the route when others have failed: the well ones first, then any."""

        def following(segment: Segment, tried: tuple[str, ...]) -> Node | None:
            untried = [node for node in self._candidates(route, segment) if node.name not in tried]
            well = (node for node in untried if node.usable and node.name not in avoid)
            return next(well, untried[0] if untried else None)

        return following

    def replica(self, route: Route) -> Next:
        """Whom to ask for a segment besides those tried: another well node that holds it."""

        def replica(segment: Segment, tried: tuple[str, ...]) -> Node | None:
            names = self._holding(route, segment, frozenset())
            return next((self._fleet.get(name) for name in names if name not in tried), None)

        return replica

    def _held_groups(self, route: Route, avoid: frozenset[str]) -> list[Group]:
        """The route's groups by the nodes that can be chosen from: usable, and warm; none where no such owner is."""
        groups = self._groups.get(route) if not avoid else None
        if groups is None:
            by_names: dict[tuple[str, ...], list[Segment]] = {}
            for segment in route.segments_by_owner():
                by_names.setdefault(self._holding(route, segment, avoid), []).append(segment)
            groups = [Group(names, tuple(found), sum(s.rows for s in found)) for names, found in by_names.items()]
            if not avoid:
                self._groups[route] = groups
        return groups

    def _holding(self, route: Route, segment: Segment, avoid: frozenset[str]) -> tuple[str, ...]:
        placed = route.placement.get(segment.segment_id, ())
        nodes = [self._fleet.get(name) for name in placed if name not in avoid]
        usable = [node.name for node in nodes if node is not None and node.usable]
        return self._holders.among(segment.segment_id, usable, placed[: route.replicas], route.replicas)

    def _place_singly(
        self, route: Route, group: Group, avoid: frozenset[str], wanted: dict[str, list[Segment]]
    ) -> None:
        following = self.following(route, avoid)
        for segment in group.segments:
            node = following(segment, ())
            if node is None:
                raise NoSearchNode("no node that can search is known; see /readyz of this router for what it sees")
            wanted.setdefault(node.name, []).append(segment)

    def _candidates(self, route: Route, segment: Segment) -> Iterator[Node]:
        for name in route.placement.get(segment.segment_id, ()):
            node = self._fleet.get(name)
            if node is not None:
                yield node
        yield from self._fleet.living()

    def _load(self, name: str) -> Load:
        node = self._known(name)
        return Load(node.outstanding, node.latency.recent_s(time.monotonic()), node.load_share())

    def _known(self, name: str) -> Node:
        node = self._fleet.get(name)
        if node is None:
            raise NoSearchNode(f"node {name} is gone")
        return node


def _in_order(segments: list[Segment]) -> list[Segment]:
    return sorted(segments, key=lambda segment: segment.file.id)
