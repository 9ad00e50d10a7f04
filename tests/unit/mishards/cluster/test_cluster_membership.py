from __future__ import annotations

from mishards.cluster.membership import membership_of
from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.watch import Members


def node(name: str, role: NodeRole = NodeRole.READONLY, state: NodeState = NodeState.READY) -> NodeRecord:
    return NodeRecord(name, role, f"{name}:1", state=state)


def members(*nodes: NodeRecord, absent: frozenset[str] = frozenset()) -> Members:
    return Members(7, nodes, absent)


def test_readers_hold_segments_and_the_writable_node_takes_writes() -> None:
    found = membership_of(members(node("a"), node("b"), node("w", NodeRole.WRITABLE)))
    assert found.version == 7
    assert [record.name for record in found.searchers] == ["a", "b"]
    assert [record.name for record in found.writers] == ["w"]


def test_without_readers_the_writable_node_holds_segments() -> None:
    found = membership_of(members(node("w", NodeRole.WRITABLE)))
    assert [owner.name for owner in found.owners()] == ["w"]


def test_joining_and_draining_nodes_are_known_and_nothing_else() -> None:
    nodes = (node("a", state=NodeState.JOINING), node("b", state=NodeState.DRAINING), node("c"))
    found = membership_of(members(*nodes, node("w", NodeRole.WRITABLE, NodeState.JOINING)))
    assert [record.name for record in found.searchers] == ["c"]
    assert found.writers == ()
    assert len(found.known) == 4


def test_an_absent_reader_keeps_its_segments() -> None:
    found = membership_of(members(node("a"), node("b"), absent=frozenset({"a"})))
    assert [record.name for record in found.searchers] == ["a", "b"]


def test_of_two_writable_nodes_the_present_one_comes_first() -> None:
    nodes = (node("v", NodeRole.WRITABLE), node("w", NodeRole.WRITABLE))
    first, second = membership_of(members(*nodes)), membership_of(members(*nodes, absent=frozenset({"v"})))
    assert [record.name for record in first.writers] == ["v", "w"]
    assert [record.name for record in second.writers] == ["w", "v"]
