from __future__ import annotations

from collections import Counter

import pytest

from mishards.errors import PluginError
from mishards.routing.api import Owner, Placeable, Routing
from mishards.testing.routing import RoutingSuite, many
from mishards_plugins.routing.replica_groups import ReplicaGroups, plugin


def grouped(count: int, groups: int = 2) -> list[Owner]:
    return [Owner(f"10.0.0.{number}:19530", zone=f"group-{number % groups}") for number in range(count)]


class TestReplicaGroups(RoutingSuite):
    balanced_copies = (2,)  # the first of all lists are nodes of one group
    balanced_nodes = (2, 4, 8, 16)  # the two groups are of one size

    def nodes(self, count: int) -> list[Owner]:
        return grouped(count)

    @pytest.fixture
    def routing(self) -> Routing:
        return plugin.routing({})


def test_every_group_holds_every_segment_once() -> None:
    owners = grouped(6, 3)
    zones = {owner.name: owner.zone for owner in owners}
    for names in ReplicaGroups().assign(many(200, 1), owners, 3).values():
        assert sorted(zones[name] for name in names) == ["group-0", "group-1", "group-2"]


def test_the_same_place_in_every_list_of_a_collection_is_the_same_group() -> None:
    owners = grouped(6, 3)
    zones = {owner.name: owner.zone for owner in owners}
    placement = ReplicaGroups().assign(many(200, 2), owners, 6)
    for place in range(6):
        assert len({zones[names[place]] for names in placement.values()}) == 1


def test_collections_begin_with_different_groups() -> None:
    owners = grouped(2)
    first = [ReplicaGroups().assign([Placeable("1", f"c{n}")], owners, 1)["1"] for n in range(40)]
    assert min(Counter(first).values()) >= 10


def test_a_node_that_leaves_changes_nothing_in_the_other_group() -> None:
    owners, found = grouped(8), many(300, 3)
    before = ReplicaGroups().assign(found, owners, 2)
    after = ReplicaGroups().assign(found, [owner for owner in owners if owner != owners[0]], 2)
    others = {owner.name for owner in owners if owner.zone != owners[0].zone}
    for key, names in before.items():
        assert [name for name in names if name in others] == [name for name in after[key] if name in others]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(PluginError, match="routing replica_groups has no option 'groups'"):
        plugin.routing({"groups": "2"})
