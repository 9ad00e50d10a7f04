from __future__ import annotations

import json
from hashlib import md5
from pathlib import Path

import pytest

from mishards.errors import PluginError
from mishards.routing.api import Owner, Placeable, Routing
from mishards.testing.routing import RoutingSuite, many
from mishards_plugins.routing.consistent_hash import ConsistentHash, plugin
from mishards_plugins.routing.ring import capacities, order

GOLDEN = Path(__file__).parents[1] / "golden" / "placement.json"


class TestConsistentHash(RoutingSuite):
    @pytest.fixture
    def routing(self) -> Routing:
        return plugin.routing({})


def naive_order(key: str, nodes: list[Owner], points: int) -> list[str]:
    """The ring by its definition: every point sorted, a walk from the key's place."""

    def place(text: str) -> int:
        return int.from_bytes(md5(text.encode()).digest(), "big")  # noqa: S324 - placement, not security

    ring = sorted((place(f"{node.name}-{n}"), node.name) for node in nodes for n in range(round(points * node.weight)))
    start = place(key)
    walk = [name for at, name in ring if at > start] + [name for at, name in ring if at <= start]
    return list(dict.fromkeys(walk))


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_the_order_of_preference_is_the_clockwise_walk_of_the_definition(nodes: int) -> None:
    owners = [Owner(f"node-{number}", 1.0 + number % 2) for number in range(nodes)]
    for segment in many(30, nodes):
        assert list(order(segment.segment_id, tuple(owners), 16)) == naive_order(segment.segment_id, owners, 16)


def test_where_nobody_is_full_the_ring_alone_decides() -> None:
    owners = [Owner(f"node-{number}") for number in range(3)]
    found = many(300, 11)
    placement = ConsistentHash().assign(found, owners, 3)
    on_ring = {s.segment_id: order(s.segment_id, tuple(owners), 256) for s in found}
    same = sum(placement[key][0] == on_ring[key][0] for key in on_ring)
    assert same >= 0.97 * len(found)


@pytest.mark.parametrize(("segments", "nodes"), [(2, 2), (3, 3), (4, 2), (5, 8), (9, 3)])
def test_a_small_collection_is_spread_as_evenly_as_can_be(segments: int, nodes: int) -> None:
    owners = [Owner(f"node-{number}") for number in range(nodes)]
    for seed in range(20):
        placement = ConsistentHash().assign(many(segments, seed), owners, 1)
        counts = [sum(names == (owner.name,) for names in placement.values()) for owner in owners]
        assert max(counts) <= -(-segments // nodes)


def test_capacities_always_hold_everything() -> None:
    for copies in range(50):
        owners = [Owner("a", 0.3), Owner("b", 1.0), Owner("c", 7.7)]
        assert sum(capacities(owners, copies).values()) >= copies


def test_placement_is_what_it_was_in_every_version() -> None:
    for case in json.loads(GOLDEN.read_text(encoding="utf-8")):
        owners = [Owner(name, weight) for name, weight in case["owners"].items()]
        found = [Placeable(key) for key in case["placement"]]
        placement = ConsistentHash().assign(found, owners, case["count"])
        assert {key: list(names) for key, names in placement.items()} == case["placement"]


@pytest.mark.parametrize("options", [{"points": "many"}, {"points": "0"}, {"pionts": "3"}])
def test_options_that_cannot_be_used_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(PluginError, match="points"):
        plugin.routing(options)
