from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from milvus_node.ingest.layers import LONELY_S, MB, Candidate, background_merges, forced_merges

Merge = Callable[[Sequence[Candidate], int], list[list[str]]]

LIMITS = st.sampled_from([1 * MB, 10 * MB, 256 * MB, 1024 * MB, 4096 * MB])
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.integers(1, 10**18).map(str),
        st.one_of(st.integers(0, 5000 * MB), st.sampled_from([4 * MB, 16 * MB, 64 * MB, 1024 * MB])),
        st.floats(0, 2 * LONELY_S),
    ),
    max_size=30,
    unique_by=lambda candidate: candidate.segment_id,
)


@pytest.mark.parametrize("merge", [background_merges, forced_merges])
@given(candidates=CANDIDATES, limit=LIMITS)
def test_groups_are_disjoint_of_two_at_least_and_not_much_over_the_limit(
    merge: Merge, candidates: list[Candidate], limit: int
) -> None:
    sizes = {candidate.segment_id: candidate.size for candidate in candidates}
    groups = merge(candidates, limit)
    named = [segment_id for group in groups for segment_id in group]
    assert len(named) == len(set(named))
    for group in groups:
        assert len(group) >= 2
        assert all(sizes[segment_id] < limit for segment_id in group)
        assert sum(sizes[segment_id] for segment_id in group[:-1]) < limit  # one less would not have filled it
        assert group == sorted(group, key=int)


@pytest.mark.parametrize("merge", [background_merges, forced_merges])
@given(candidates=CANDIDATES, limit=LIMITS)
def test_merging_again_and_again_comes_to_rest(merge: Merge, candidates: list[Candidate], limit: int) -> None:
    segments = {candidate.segment_id: candidate for candidate in candidates}
    rounds = 0
    while groups := merge(list(segments.values()), limit):
        rounds += 1
        assert rounds <= len(candidates), f"still merging {groups}"
        for number, group in enumerate(groups):
            size = sum(segments.pop(segment_id).size for segment_id in group)
            name = str(2 * 10**18 + 1000 * rounds + number)
            segments[name] = Candidate(name, size, 0)


@given(candidates=CANDIDATES, limit=LIMITS)
def test_a_forced_merge_leaves_at_most_one_segment_below_the_limit(candidates: list[Candidate], limit: int) -> None:
    sizes = {candidate.segment_id: candidate.size for candidate in candidates}
    groups = forced_merges(candidates, limit)
    merged = {segment_id for group in groups for segment_id in group}
    after = [sum(sizes[segment_id] for segment_id in group) for group in groups]
    after += [size for segment_id, size in sizes.items() if segment_id not in merged]
    assert sum(size < limit for size in after) <= 1


@given(candidates=CANDIDATES, limit=LIMITS)
def test_what_rests_in_the_background_is_one_young_segment_a_layer(candidates: list[Candidate], limit: int) -> None:
    """Nothing is left to wait for ever beside another of its layer."""
    if background_merges(candidates, limit):
        return
    small = [candidate.size for candidate in candidates if candidate.size < limit]
    layers = [sum(size >= bound for bound in (4 * MB, 16 * MB, 64 * MB, 256 * MB, 1024 * MB)) for size in small]
    assert len(layers) == len(set(layers))


def test_neighbours_of_a_layer_are_merged_and_others_are_not() -> None:
    candidates = [Candidate("1", 1 * MB, 0), Candidate("2", 100 * MB, 0), Candidate("3", 2 * MB, 0)]
    assert background_merges(candidates, 1024 * MB) == [["1", "3"]]


def test_a_lone_small_segment_is_merged_upward_once_it_is_old() -> None:
    large = Candidate("2", 5 * MB, 0)
    assert background_merges([Candidate("1", 1 * MB, LONELY_S - 1), large], 1024 * MB) == []
    assert background_merges([Candidate("1", 1 * MB, LONELY_S), large], 1024 * MB) == [["1", "2"]]


def test_a_segment_of_the_wanted_size_is_left_alone() -> None:
    candidates = [Candidate(str(name), 10 * MB, math.inf) for name in range(1, 5)]
    assert background_merges(candidates, 10 * MB) == []
    assert forced_merges(candidates, 10 * MB) == []


def test_the_oldest_names_come_first_also_where_one_is_longer() -> None:
    candidates = [Candidate("100", 1, 0), Candidate("99", 1, 0), Candidate("9", 1, 0)]
    assert forced_merges(candidates, 2) == [["9", "99"]]
