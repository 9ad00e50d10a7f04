from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milvus_node.index.ranking import (
    EMPTY,
    Nearest,
    distances_of,
    keep_nearest,
    pack,
    ranked,
    rows_of,
    strictly_ranked,
    to_topk,
)
from mishards.topk import EMPTY_DISTANCE, NO_ID

FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, float("inf"), float("-inf")])
TABLES = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=FLOATS)


@pytest.mark.parametrize("larger_is_nearer", [False, True])
@given(distances=TABLES)
def test_keys_give_back_distance_and_row(larger_is_nearer: bool, distances: np.ndarray) -> None:
    rows = np.arange(distances.shape[1])
    keys = pack(distances, rows, larger_is_nearer=larger_is_nearer)
    np.testing.assert_array_equal(distances_of(keys, larger_is_nearer=larger_is_nearer), distances)
    np.testing.assert_array_equal(rows_of(keys), np.broadcast_to(rows, distances.shape))


@pytest.mark.parametrize("larger_is_nearer", [False, True])
@given(distances=TABLES, k=st.integers(1, 50))
def test_the_nearest_come_by_distance_and_then_by_row(larger_is_nearer: bool, distances: np.ndarray, k: int) -> None:
    answer = to_topk(
        ranked(pack(distances, np.arange(distances.shape[1]), larger_is_nearer=larger_is_nearer), k),
        larger_is_nearer=larger_is_nearer,
    )
    for row, ids, found in zip(distances, answer.ids, answer.distances, strict=True):
        order = np.argsort(-row if larger_is_nearer else row, kind="stable")[:k]
        hits = len(order)
        np.testing.assert_array_equal(ids, [*order, *[NO_ID] * (k - hits)])
        np.testing.assert_array_equal(found[:hits], row[order])
        assert (found[hits:] == EMPTY_DISTANCE).all()


@pytest.mark.parametrize("larger_is_nearer", [False, True])
def test_what_is_not_a_number_or_not_a_row_is_no_hit(larger_is_nearer: bool) -> None:
    keys = pack(
        np.array([[np.nan, 1.0, -np.nan, 2.0]], np.float32), np.array([0, 1, 2, -1]), larger_is_nearer=larger_is_nearer
    )
    np.testing.assert_array_equal(rows_of(ranked(keys, 4)), [[1, NO_ID, NO_ID, NO_ID]])


@pytest.mark.parametrize("larger_is_nearer", [False, True])
@given(distances=TABLES, empty=st.booleans())
def test_what_is_called_ranked_needs_no_ranking(larger_is_nearer: bool, distances: np.ndarray, empty: bool) -> None:
    distances = np.sort(distances, axis=1)[:, :: -1 if larger_is_nearer else 1].copy()
    rows = np.tile(np.arange(distances.shape[1])[::-1], (len(distances), 1))
    rows[0, -1] = NO_ID if empty else rows[0, -1]
    keys = ranked(pack(distances, rows, larger_is_nearer=larger_is_nearer), distances.shape[1])
    same = (rows_of(keys) == rows).all()
    if strictly_ranked(distances, rows, larger_is_nearer=larger_is_nearer):
        assert same
        assert not empty
    else:
        assert empty or not same or distances[:, 0].min() < 0


@pytest.mark.parametrize("larger_is_nearer", [False, True])
@pytest.mark.parametrize("hits", [[np.nan], [np.nan, 1], [1, np.nan], [1, 1]])
def test_ties_and_what_is_not_a_number_are_not_ranked(hits: list[float], larger_is_nearer: bool) -> None:
    distances = np.array([hits], np.float32)
    assert not strictly_ranked(distances, np.arange(len(hits))[None], larger_is_nearer=larger_is_nearer)


def test_a_row_number_may_use_all_32_bits() -> None:
    assert rows_of(pack(np.zeros(1, np.float32), np.array([2**32 - 1])))[0] == 2**32 - 1


@given(distances=TABLES, k=st.integers(1, 9), cut=st.integers(0, 40))
def test_blocks_give_what_the_whole_gives(distances: np.ndarray, k: int, cut: int) -> None:
    keys = pack(distances, np.arange(distances.shape[1]))
    nearest = Nearest(k)
    nearest.add(keys[:, :cut].copy())
    nearest.add(keys[:, cut:].copy())
    np.testing.assert_array_equal(nearest.ranked(), ranked(keys, k))


def test_collecting_many_blocks_keeps_little_more_than_the_nearest() -> None:
    distances = np.random.default_rng(3).random((2, 400_000), np.float32)
    keys, nearest = pack(distances, np.arange(400_000)), Nearest(300)
    for start in range(0, 400_000, 1000):
        nearest.add(keys[:, start : start + 1000].copy())
    assert sum(block.shape[1] for block in nearest._blocks) < 70_000
    assert all(block.base is None for block in nearest._blocks)
    np.testing.assert_array_equal(nearest.ranked(), np.sort(keys, axis=1)[:, :300])


def test_nothing_is_padded_with_empty_keys() -> None:
    assert (ranked(np.empty((2, 0), np.int64), 3) == EMPTY).all()
    assert keep_nearest(np.empty((2, 0), np.int64), 3).shape == (2, 0)
