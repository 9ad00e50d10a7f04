from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from mishards.query.holders import Holders

NODES = "abcd"
TARGETS = st.dictionaries(
    st.sampled_from("123"), st.lists(st.sampled_from(NODES), min_size=1, max_size=3, unique=True), max_size=3
)


def test_a_segment_that_has_just_come_is_believed_to_be_held_by_all_that_shall_hold_it() -> None:
    holders = Holders()
    assert holders.settle({"1": ["a", "b"]}) == {}
    assert holders.among("1", ["a", "b", "c"], ["a", "b"], 2) == ("a", "b")


def test_a_node_that_shall_hold_a_segment_anew_is_cold_until_it_is_warmed_up() -> None:
    holders = Holders()
    holders.settle({"1": ["a"], "2": ["b"]})
    assert holders.settle({"1": ["a", "b"], "2": ["b"]}) == {"b": ["1"]}
    assert holders.among("1", ["a", "b"], ["a", "b"], 2) == ("a",)
    before = holders.version
    holders.warmed("b", ["1", "gone"])
    assert holders.version > before
    assert holders.among("1", ["a", "b"], ["a", "b"], 2) == ("a", "b")
    assert holders.settle({"1": ["a", "b"], "2": ["b"]}) == {}


def test_who_held_a_segment_goes_on_until_its_new_owner_is_warm() -> None:
    holders = Holders()
    holders.settle({"1": ["a"]})
    assert holders.settle({"1": ["new"]}) == {"new": ["1"]}
    assert holders.among("1", ["new", "a"], ["new"], 1) == ("a",)
    holders.warmed("new", ["1"])
    assert holders.settle({"1": ["new"]}) == {}
    assert holders.among("1", ["new", "a"], ["new"], 1) == ("new",)
    assert holders.among("1", ["a"], ["new"], 1) == ()


def test_a_lost_node_is_replaced_and_begins_cold_when_it_comes_back() -> None:
    holders = Holders()
    holders.settle({"1": ["a", "b"]})
    holders.lost("a")
    assert holders.settle({"1": ["b", "c"]}) == {"c": ["1"]}
    holders.warmed("c", ["1"])
    assert holders.among("1", ["b", "c"], ["a", "b"], 2) == ("b", "c")
    assert holders.settle({"1": ["a", "b"]}) == {"a": ["1"]}
    assert holders.among("1", ["a", "b", "c"], ["a", "b"], 2) == ("b", "c")


def test_where_no_holder_can_be_asked_the_owners_are_held_or_not() -> None:
    holders = Holders()
    assert holders.among("1", ["a", "c"], ["a"], 1) == ("a",)
    holders.settle({"1": ["b"]})
    assert holders.among("1", ["a", "c"], ["a"], 1) == ("a",)
    assert holders.among("1", ["c"], ["a"], 1) == ()


def test_without_belief_every_owner_is_asked() -> None:
    holders = Holders(believes=False)
    assert holders.among("1", ["a"], ["a"], 1) == ("a",)
    assert holders.among("1", ["new", "a"], ["new"], 1) == ("new",)


@given(st.lists(st.one_of(TARGETS, st.tuples(st.sampled_from(NODES), st.booleans()))))
def test_once_all_is_warm_those_that_shall_hold_a_segment_are_asked_and_nobody_else(
    steps: list[dict[str, list[str]] | tuple[str, bool]],
) -> None:
    holders, targets = Holders(), {}
    for step in steps:
        if isinstance(step, dict):
            targets = step
            holders.settle(targets)
        elif step[1]:
            holders.lost(step[0])
        else:
            holders.warmed(step[0], list(targets))
    for name, segment_ids in holders.settle(targets).items():
        holders.warmed(name, segment_ids)
    assert holders.settle(targets) == {}
    for segment_id, names in targets.items():
        assert holders.among(segment_id, NODES, names, 4) == tuple(sorted(names))
