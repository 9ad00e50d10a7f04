from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards import topk
from mishards.topk import EMPTY_DISTANCE, EMPTY_RANK, NO_ID, TopK, merge, rank, select

Hit = tuple[int, float]

COARSE = st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.5, -1.0, math.inf, -math.inf, math.nan, float(EMPTY_DISTANCE)])
DISTANCES = COARSE | st.floats(width=32)
IDS = st.integers(-3, 6) | st.integers(-(2**63), 2**63 - 1)
HITS = st.tuples(IDS, DISTANCES)


def _part(rows: list[list[Hit]], width: int) -> TopK:
    part = TopK(np.full((len(rows), width), NO_ID, np.int64), np.full((len(rows), width), -1.0, np.float32))
    for at, row in enumerate(rows):
        for column, (hit, distance) in enumerate(row):
            part.ids[at, column], part.distances[at, column] = hit, distance
    return part


def _order(hit: Hit, larger_is_nearer: bool) -> tuple[bool, float, int]:
    distance = -hit[1] if larger_is_nearer else hit[1]
    return math.isnan(distance), 0.0 if math.isnan(distance) else distance, hit[0]


def _naive(row: list[Hit], k: int, larger_is_nearer: bool) -> list[Hit]:
    hits = sorted((hit for hit in row if hit[0] != NO_ID), key=lambda hit: _order(hit, larger_is_nearer))[:k]
    return hits + [(NO_ID, float(EMPTY_DISTANCE))] * (k - len(hits))


def _assert_rows(merged: TopK, wanted: list[list[Hit]]) -> None:
    assert merged.ids.dtype == np.int64
    assert merged.distances.dtype == np.float32
    assert merged.ids.tolist() == [[hit for hit, _ in row] for row in wanted]
    np.testing.assert_array_equal(merged.distances, np.array([[d for _, d in row] for row in wanted], np.float32))


@st.composite
def splits(draw):
    """Rows of hits, and the same hits dealt to parts of any width, with empty places anywhere."""
    rows = draw(st.lists(st.lists(HITS, max_size=12), min_size=1, max_size=4))
    parts: list[list[list[Hit]]] = [[[] for _ in rows] for _ in range(draw(st.integers(1, 5)))]
    for at, row in enumerate(rows):
        for hit in row:
            parts[draw(st.integers(0, len(parts) - 1))][at].append(hit)
        for part in parts:
            if draw(st.booleans()):
                part[at].insert(draw(st.integers(0, len(part[at]))), (NO_ID, draw(DISTANCES)))
    arrays = [_part(part, max(map(len, part)) + draw(st.integers(0, 2))) for part in parts]
    return rows, arrays


@given(splits(), st.integers(1, 15), st.booleans())
def test_however_the_hits_are_split_the_answer_is_the_top_of_all(split, k, larger_is_nearer):
    rows, parts = split
    _assert_rows(merge(parts, k, larger_is_nearer), [_naive(row, k, larger_is_nearer) for row in rows])


@given(splits(), st.integers(1, 15), st.booleans())
def test_merging_in_two_steps_is_merging_in_one(split, k, larger_is_nearer):
    _, parts = split
    one = merge(parts, k, larger_is_nearer)
    two = merge([merge(parts[:2], k, larger_is_nearer), *parts[2:]], k, larger_is_nearer)
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.distances, two.distances)


SHAPES = [(8, 3, 700, 700), (8, 40, 100, 100), (3, 2, 3000, 10), (2, 1, 5000, 7000), (1, 4, 2000, 300), (5, 100, 9, 9)]


@pytest.mark.parametrize("larger_is_nearer", [False, True])
@pytest.mark.parametrize("distances", ["distinct", "coarse", "skewed", "unsorted"])
@pytest.mark.parametrize(("parts", "rows", "width", "k"), SHAPES)
def test_large_answers_are_those_of_a_plain_sort(parts, rows, width, k, distances, larger_is_nearer):
    random = np.random.default_rng(parts * rows)
    values = {
        "distinct": lambda at: random.random((rows, width), dtype=np.float32),
        "coarse": lambda at: random.integers(0, 40, (rows, width)).astype(np.float32),
        "skewed": lambda at: random.random((rows, width), dtype=np.float32) + np.float32(at),
        "unsorted": lambda at: random.random((rows, width), dtype=np.float32),
    }[distances]
    answers = []
    for at in range(parts):
        found = values(at)
        if distances != "unsorted":
            found = np.sort(found, axis=1)[:, :: -1 if larger_is_nearer else 1]
        answers.append(TopK(random.integers(0, 10_000, (rows, width)), found))

    merged = merge(answers, k, larger_is_nearer)

    for row in range(rows):
        hits = [
            hit
            for answer in answers
            for hit in zip(answer.ids[row].tolist(), answer.distances[row].tolist(), strict=True)
        ]
        wanted = _naive(hits, k, larger_is_nearer)
        assert list(zip(merged.ids[row].tolist(), merged.distances[row].tolist(), strict=True)) == wanted


def test_ids_that_repeat_are_rows_of_their_own():
    part = _part([[(7, 1.0), (7, 1.0)]], 2)
    _assert_rows(merge([part, part], 3, False), [[(7, 1.0)] * 3])


def test_a_placeholder_that_sorts_first_hides_no_hit():
    hnsw = _part([[(NO_ID, -1.0), (NO_ID, -1.0), (5, 0.5)]], 3)
    _assert_rows(merge([hnsw, _part([[(6, 0.25)]], 1)], 2, False), [[(6, 0.25), (5, 0.5)]])
    _assert_rows(
        merge([_part([[(NO_ID, float(EMPTY_DISTANCE)), (5, 0.5)]], 2)], 2, True),
        [[(5, 0.5), (NO_ID, float(EMPTY_DISTANCE))]],
    )


def test_nothing_merged_is_an_answer_without_rows():
    assert merge([], 3, False).ids.shape == (0, 3)
    assert merge([_part([], 4)], 3, False).distances.shape == (0, 3)
    _assert_rows(merge([_part([[], []], 0)], 2, False), [[(NO_ID, float(EMPTY_DISTANCE))] * 2] * 2)


def test_an_answer_can_be_written_to_without_changing_what_was_merged():
    part = _part([[(1, 1.0), (2, 2.0)]], 2)
    merge([part], 2, False).ids[:] = 9
    assert part.ids.tolist() == [[1, 2]]


@given(st.lists(DISTANCES, max_size=20), st.booleans())
def test_ranks_sort_as_distances_do(distances, larger_is_nearer):
    values = np.array(distances, np.float32)
    ranks = rank(values, larger_is_nearer).tolist()
    keys = [_order((0, value), larger_is_nearer) for value in values.tolist()]
    for one, key_of_one in zip(ranks, keys, strict=True):
        assert one < EMPTY_RANK
        for other, key_of_other in zip(ranks, keys, strict=True):
            assert (one < other) == (key_of_one < key_of_other)


def test_ids_are_asked_for_only_where_ranks_are_equal():
    asked: list[int] = []

    def ids_of(slots):
        asked.extend(slots.tolist())
        return -slots

    ranks = np.array([[[1, 3, 5]], [[3, 4, 5]]], np.int32)
    assert select(ranks, 4, ids_of).tolist() == [[0, 3, 1, 4]]
    assert sorted(asked) == [1, 3]


def test_parts_out_of_order_are_noticed_where_a_bound_was_taken_from_them(monkeypatch):
    monkeypatch.setattr(topk, "_FEW", 0)
    distances = [[9.0, 0.0, 1.0, 2.0], [9.0, 0.0, 3.0, 4.0]]
    answers = [_part([list(enumerate(row, start=10 * at))], 4) for at, row in enumerate(distances)]
    assert merge(answers, 3, False).ids.tolist() == [[1, 11, 2]]


@given(splits(), st.integers(1, 15), st.booleans())
def test_the_bound_changes_no_answer(split, k, larger_is_nearer):
    rows, parts = split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "_FEW", 0)
        _assert_rows(merge(parts, k, larger_is_nearer), [_naive(row, k, larger_is_nearer) for row in rows])
