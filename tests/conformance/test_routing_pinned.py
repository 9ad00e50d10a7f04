from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.config import load_config
from mishards.errors import PluginError
from mishards.query.options import RoutingOptions
from mishards.routing.api import Owner, Placeable, Routing
from mishards.testing.cluster import QUICK, running_cluster
from mishards.testing.routing import RoutingSuite, many
from mishards_plugins.routing.consistent_hash import ConsistentHash
from mishards_plugins.routing.pinned import pins_of, plugin

GOLDEN = Path(__file__).parents[1] / "golden" / "placement_pinned.json"
NODES = [Owner(f"node-{number}") for number in range(6)]
NAMES = [owner.name for owner in NODES]


class TestPinnedWithoutPins(RoutingSuite):
    @pytest.fixture
    def routing(self) -> Routing:
        return plugin.routing({})


class TestPinnedToNodesThatAreNoMembers(RoutingSuite):
    @pytest.fixture
    def routing(self) -> Routing:
        return plugin.routing({"pin.words": "away-1|away-2"})


class TestPinnedToEverybody(RoutingSuite):
    @pytest.fixture
    def routing(self) -> Routing:
        nodes = ["a", "b", "c", *(owner.name for owner in self.nodes(17))]
        return plugin.routing({"pin.words": "|".join(nodes)})


def in_partitions(tags: list[str]) -> list[Placeable]:
    return [Placeable(segment.segment_id, "words", tag) for segment, tag in zip(many(len(tags), 5), tags, strict=True)]


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["words", "words/hot", "words/_default", "others"]),
        st.lists(st.sampled_from([*NAMES, "away"]), min_size=1, max_size=4),
        max_size=4,
    ),
    st.sets(st.sampled_from(NODES), min_size=1),
    st.lists(st.sampled_from(["_default", "hot", "cold"]), max_size=30),
    st.integers(1, 7),
)
def test_a_list_begins_with_the_pins_members_and_goes_on_with_all_others(
    pins: Mapping[str, list[str]], members: set[Owner], tags: list[str], count: int
) -> None:
    routing = plugin.routing({f"pin.{target}": "|".join(nodes) for target, nodes in pins.items()})
    found, names = in_partitions(tags), {owner.name for owner in members}
    placement = routing.assign(found, sorted(members, key=lambda owner: owner.name), count)
    for segment in found:
        pinned = names.intersection(pins.get(f"words/{segment.partition}", pins.get("words", [])))
        held = placement[segment.segment_id]
        assert set(held[: len(pinned)]) <= pinned or not pinned
        assert pinned <= set(held) or len(held) == count <= len(pinned)
        assert len(set(held)) == len(held) == min(count, len(names))


@given(st.lists(st.sampled_from(["hot", "cold"]), max_size=30), st.integers(1, 6))
def test_what_is_not_pinned_lies_where_the_ring_puts_it(tags: list[str], count: int) -> None:
    found = in_partitions(tags)
    placement = plugin.routing({"pin.words/hot": "node-1", "pin.others": "node-2"}).assign(found, NODES, count)
    rest = [segment for segment in found if segment.partition == "cold"]
    ring = ConsistentHash().assign(rest, NODES, count)
    assert {segment.segment_id: placement[segment.segment_id] for segment in rest} == ring


def test_a_pinned_collection_is_spread_over_its_nodes_and_their_successors_over_the_others() -> None:
    placement = plugin.routing({"pin.words": "node-1|node-4"}).assign(many(600, 2), NODES, 3)
    firsts, thirds = (Counter(names[place] for names in placement.values()) for place in (0, 2))
    assert set(firsts) == {"node-1", "node-4"}
    assert max(firsts.values()) <= 1.25 * 300
    assert set(thirds) == set(NAMES) - {"node-1", "node-4"}
    assert max(thirds.values()) <= 1.25 * 150


def test_a_node_that_leaves_a_pin_moves_only_what_it_held() -> None:
    routing, found = plugin.routing({"pin.words": "node-1|node-2|node-3"}), many(300, 9)
    before = routing.assign(found, NODES, 1)
    after = routing.assign(found, [owner for owner in NODES if owner.name != "node-2"], 1)
    assert {names for key, (names,) in after.items() if before[key] == ("node-2",)} == {"node-1", "node-3"}
    stayed = [key for key in before if before[key] != ("node-2",)]
    assert sum(before[key] != after[key] for key in stayed) <= 0.1 * len(stayed)


def test_a_tag_may_hold_a_slash() -> None:
    placement = plugin.routing({"pin.words/a/b": "node-5"}).assign(in_partitions(["a/b"] * 9), NODES, 1)
    assert set(placement.values()) == {("node-5",)}


def test_placement_is_what_it_was_in_every_version() -> None:
    chance = random.Random(1)
    for case in json.loads(GOLDEN.read_text(encoding="utf-8")):
        owners = [Owner(name, weight) for name, weight in case["owners"].items()]
        found = [Placeable(key, "words", tag) for key, (tag, _) in case["placement"].items()]
        chance.shuffle(found)
        placement = plugin.routing(case["options"]).assign(found, owners, case["count"])
        assert {key: list(names) for key, names in placement.items()} == {
            key: names for key, (_, names) in case["placement"].items()
        }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pin.": "node-1"}, "'pin.' pins nothing"),
        ({"pin.words/": "node-1"}, "'pin.words/' pins nothing"),
        ({"pin.words": ""}, "pin.words is ''"),
        ({"pin.words": "node-1||node-2"}, "expected node-1|node-2"),
        ({"pins": "3"}, "no option 'pins'"),
        ({"points": "many"}, "points is 'many'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint.replace("|", r"\|")):
        plugin.routing(options)


@pytest.mark.parametrize(("tag", "pinned"), [("hot", "reader-3"), ("_default", "reader-2")])
async def test_a_router_asks_the_pinned_node_for_a_partition(tag: str, pinned: str) -> None:
    options = RoutingOptions("pinned", {"pin.words": "reader-2", "pin.words/hot": "reader-3"})
    async with running_cluster(3, options=replace(QUICK, routing=options)) as cluster:
        world = cluster.world
        tables = {"_default": world.create("words"), "hot": world.partition("words", "hot")}
        rows = np.eye(4, dtype=np.float32)
        for table in tables.values():
            for number in range(6):
                world.add(table, [number], rows[:1])
        await cluster.snapshot_newer()
        await cluster.search("words", rows[:1], 1, [tag])
        assert set(cluster.searched()) == {pinned}


@pytest.mark.parametrize("by_file", [True, False])
def test_pins_can_be_written_in_a_file_and_in_the_environment(
    by_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "router.yaml"
    file.write_text("routing:\n  plugin_options:\n    pin.words: node-1|node-2\n    pin.words/hot: node-3\n")
    if not by_file:
        monkeypatch.setenv("MISHARDS_ROUTING_PLUGIN_OPTIONS", "pin.words=node-1|node-2,pin.words/hot=node-3")
    flags = {"metadata.uri": ("-m", "sqlite:///x"), "discovery.uri": ("-d", "static://?writable=h")}
    options = load_config(file if by_file else None, flags).options
    assert pins_of(options.routing.plugin_options) == {
        ("words", ""): {"node-1", "node-2"},
        ("words", "hot"): {"node-3"},
    }
