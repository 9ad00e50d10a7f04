"""From discovery's members to what a router works with; pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.watch import Members
from mishards.routing.api import Owner


@dataclass(frozen=True, slots=True)
class Membership:
    """Who does what now. Never changed, only replaced by one of a higher version."""

    version: int = 0
    writers: tuple[NodeRecord, ...] = ()
    """The writable nodes, in the order in which they take writes where none of them says that it leads."""
    searchers: tuple[NodeRecord, ...] = ()
    """Who holds segments, by name: the read-only nodes, or the writable ones where there are none."""
    known: tuple[NodeRecord, ...] = ()
    """Everyone, by name, whatever the state."""
    absent: frozenset[str] = frozenset()
    """Names that discovery no longer reports, within their grace period: members, but not to be called first."""
    joining: tuple[NodeRecord, ...] = ()
    """Read-only nodes that warm up, by name."""

    def owners(self) -> tuple[Owner, ...]:
        """The searchers as placement sees them."""
        return tuple(Owner(node.name, node.weight, node.zone) for node in self.searchers)


def without_drained(members: Members, drained: Collection[str]) -> Members:
    """The members, of which these are draining whatever discovery says."""
    if not drained:
        return members
    nodes = tuple(replace(node, state=NodeState.DRAINING) if node.name in drained else node for node in members.nodes)
    return replace(members, nodes=nodes, joining=members.joining - frozenset(drained))


def membership_of(members: Members) -> Membership:
    """Give the members their tasks.

    Of several writable nodes that elect no leader the first by name that is present takes the writes: the others are
    there by mistake or for a moment, and every router must choose alike.
    """
    ready = [node for node in members.nodes if node.state is NodeState.READY]
    writable = [node for node in ready if node.role is NodeRole.WRITABLE]
    readonly = [node for node in ready if node.role is NodeRole.READONLY]
    writers = tuple(sorted(writable, key=lambda node: (node.name in members.absent, node.name)))
    joining = tuple(node for node in members.nodes if node.name in members.joining and node.role is NodeRole.READONLY)
    return Membership(members.version, writers, tuple(readonly or writable), members.nodes, members.absent, joining)
