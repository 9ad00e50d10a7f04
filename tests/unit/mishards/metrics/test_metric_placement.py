from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mishards.catalog.snapshot import Collection
from mishards.metrics.placement import Share, Spread, Spreads, deficit, imbalance, spread_of
from mishards.routing.api import Owner, Placement
from mishards.testing.world import World

OWNERS = (Owner("a"), Owner("b"), Owner("c"))


def world(*rows: int) -> World:
    made = World()
    made.create("words")
    for number in rows:
        made.add("words", range(number), np.zeros((number, 4), np.float32))
    return made


def collection(made: World) -> Collection:
    return made.read(None).collections["words"]


def test_each_node_has_what_it_owns_spares_not_counted() -> None:
    words = collection(world(10, 20))
    small, large = sorted(words.segments, key=lambda segment: segment.rows)
    spread = spread_of(words, {small.segment_id: ("a", "b", "c"), large.segment_id: ("b", "c", "a")}, 2)
    assert spread.shares["a"] == Share(1, 10, small.file.file_size)
    assert spread.shares["b"] == Share(2, 30, small.file.file_size + large.file.file_size)
    assert spread.shares["c"] == Share(1, 20, large.file.file_size)
    assert (spread.segments, spread.rows) == (2, 30)


def test_replicas_are_missing_where_owners_are_out_of_service_or_too_few() -> None:
    words = collection(world(10, 20))
    first, second = words.segments
    spread = spread_of(words, {first.segment_id: ("a", "b"), second.segment_id: ("c",)}, 2)
    assert deficit(spread, lambda _: True) == 1
    assert deficit(spread, lambda name: name != "a") == 2
    assert deficit(spread, lambda _: False) == 4


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1000)))
def test_imbalance_is_the_fullest_over_the_mean(rows: dict[str, int]) -> None:
    spread = Spread({name: Share(1, number, 0) for name, number in rows.items()})
    found = imbalance(spread, "abcd")
    if any(rows.values()):
        assert found == max(rows.values()) / (sum(rows.values()) / 4)
    else:
        assert found == 1


def test_placement_is_asked_again_only_for_what_has_changed() -> None:
    made = world(10)
    made.create("others")
    asked: list[str] = []

    def place(found: Collection, owners: tuple[Owner, ...]) -> Placement:
        asked.append(found.name)
        return {segment.segment_id: (owners[0].name,) for segment in found.segments}

    spreads = Spreads(place, lambda _: 1)
    snapshot = made.read(None)
    first = spreads.now(snapshot, OWNERS)
    assert spreads.now(snapshot, OWNERS) == first
    assert sorted(asked) == ["others", "words"]
    assert spreads.now(snapshot, OWNERS[1:]).shares.keys() == {"b"}
    assert sorted(asked) == ["others", "others", "words", "words"]
