from __future__ import annotations

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.watch import NodeWatch
from mishards.testing.memory_discovery import MemoryBackend


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reader(name: str, state: NodeState = NodeState.READY, address: str = "h:1") -> NodeRecord:
    return NodeRecord(name, NodeRole.READONLY, address, state=state)


def watching(*nodes: NodeRecord, grace_s: float = 30) -> tuple[NodeWatch, MemoryBackend, Clock]:
    backend, clock = MemoryBackend(*nodes), Clock()
    watch = NodeWatch(backend.discovery(), grace_s, clock)
    watch.open()
    return watch, backend, clock


def names(watch: NodeWatch) -> set[str]:
    return {node.name for node in watch.members().nodes}


def test_members_are_what_discovery_reports() -> None:
    watch, backend, _ = watching(reader("a"))
    backend.publish(reader("a"), reader("b"))
    assert names(watch) == {"a", "b"}
    assert not watch.members().absent


def test_a_set_that_says_nothing_new_spends_no_version() -> None:
    watch, backend, _ = watching(reader("a"))
    version = watch.members().version
    backend.publish(reader("a"))
    assert watch.members().version == version
    backend.publish(reader("a", address="h:2"))
    assert watch.members().version == version + 1


def test_losing_the_backend_changes_nothing_but_the_error() -> None:
    watch, backend, _ = watching(reader("a"))
    before = watch.members()
    backend.lose()
    assert watch.members() is before
    assert watch.error is not None
    backend.restore()
    assert watch.error is None


def test_a_node_that_vanishes_stays_a_member_for_its_grace_and_no_longer() -> None:
    watch, backend, clock = watching(reader("a"), reader("b"))
    backend.publish(reader("b"))
    assert names(watch) == {"a", "b"}
    assert watch.members().absent == {"a"}
    clock.now += 29.9
    assert names(watch) == {"a", "b"}
    clock.now += 0.2
    assert names(watch) == {"b"}


def test_the_grace_counts_from_when_the_node_went_whatever_is_reported_since() -> None:
    watch, backend, clock = watching(reader("a"))
    backend.publish()
    clock.now += 20
    backend.publish(reader("c"))
    clock.now += 10
    assert names(watch) == {"c"}


def test_a_node_that_comes_back_in_time_was_never_gone() -> None:
    watch, backend, clock = watching(reader("a"))
    backend.publish()
    clock.now += 10
    backend.publish(reader("a", address="h:9"))
    assert watch.members().absent == frozenset()
    clock.now += 1000
    assert [node.address for node in watch.members().nodes] == ["h:9"]


def test_a_node_that_said_it_is_draining_leaves_at_once() -> None:
    watch, backend, _ = watching(reader("a"))
    backend.publish(reader("a", NodeState.DRAINING))
    backend.publish()
    assert names(watch) == set()


def test_a_node_that_never_was_ready_leaves_at_once() -> None:
    watch, backend, _ = watching(reader("a", NodeState.JOINING))
    backend.publish()
    assert names(watch) == set()


def test_a_node_that_joins_again_after_a_crash_keeps_its_place_while_it_warms_up() -> None:
    watch, backend, clock = watching(reader("a"))
    backend.publish()
    clock.now += 5
    backend.publish(reader("a", NodeState.JOINING))
    assert [(node.name, node.state) for node in watch.members().nodes] == [("a", NodeState.READY)]
    assert watch.members().absent == {"a"}
    backend.publish(reader("a"))
    assert watch.members().absent == frozenset()


def test_listeners_hear_of_changes_only() -> None:
    watch, backend, _ = watching(reader("a"))
    heard: list[int] = []
    watch.on_change(lambda: heard.append(watch.members().version))
    backend.publish(reader("a"))
    assert heard == []
    backend.publish(reader("b"))
    assert heard == [2]


def test_the_age_is_infinite_before_the_first_set_and_counts_after() -> None:
    backend, clock = MemoryBackend(), Clock()
    watch = NodeWatch(backend.discovery(), 30, clock)
    assert watch.age_s == float("inf")
    watch.open()
    clock.now += 7
    assert watch.age_s == 7
