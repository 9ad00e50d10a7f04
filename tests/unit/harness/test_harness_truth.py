"""The judge of all answers is judged: what it must accept, and each way of being wrong that it must see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness.truth import Truth
from harness.vectors import gaussian, nearest, squared_l2

DIM = 4
BASE = gaussian(60, DIM)
QUERIES = gaussian(2, DIM, seed=7)


@dataclass
class Given:
    ids: list[list[int]]
    distances: list[list[float]]


def answer(ids: list[int], topk: int) -> Given:
    """What an exact search over these rows answers."""
    places, distances = nearest(squared_l2(QUERIES, BASE[ids]), topk)
    return Given([[ids[place] for place in row] for row in places], distances.tolist())


@pytest.fixture
def truth() -> Truth:
    made = Truth()
    made.inserting(range(40), BASE[:40])
    made.inserted(range(40))
    return made


def judged(truth: Truth, given: Given, topk: int = 10, **options: Any) -> str:
    return truth.fault(QUERIES, topk, given, time.monotonic(), time.monotonic(), **options)


def test_the_exact_answer_is_right_and_every_other_is_not(truth: Truth) -> None:
    right = answer(list(range(40)), 10)
    assert not judged(truth, right)
    lacking = answer([number for number in range(40) if number != right.ids[0][3]], 10)
    assert "are missing" in judged(truth, lacking)
    short = Given([row[:9] for row in right.ids], [row[:9] for row in right.distances])
    assert "short: 9 hits of 10" in judged(truth, short)
    double = Given([[*row[:9], row[8]] for row in right.ids], [[*row[:9], row[8]] for row in right.distances])
    assert "an id is there twice" in judged(truth, double)
    strange = Given([[999, *row[1:]] for row in right.ids], right.distances)
    assert "are not there" in judged(truth, strange)
    distant = Given(right.ids, [[*row[:9], row[9] * 2] for row in right.distances])
    assert "distances are wrong" in judged(truth, distant)
    assert "1 rows for 2 queries" in judged(truth, Given(right.ids[:1], right.distances[:1]))


def test_rows_under_way_and_of_unknown_end_may_be_there_or_not(truth: Truth) -> None:
    truth.inserting(range(40, 50), BASE[40:50])  # never acknowledged
    truth.deleting(range(10))  # never acknowledged
    for ids in (range(40), range(50), range(10, 40), range(10, 50)):
        assert not judged(truth, answer(list(ids), 10))
    truth.inserted(range(40, 50))
    assert "are missing" in judged(truth, answer(list(range(40)), 40), 40)
    truth.deleted(range(10))
    assert "are not there, or no longer" in judged(truth, answer(list(range(50)), 40), 40)
    assert not judged(truth, answer(list(range(10, 50)), 40), 40)


def test_searches_that_need_not_know_the_latest_are_held_to_what_was_settled(truth: Truth) -> None:
    truth.settle(time.monotonic())
    truth.inserting(range(40, 50), BASE[40:50])
    truth.inserted(range(40, 50))
    truth.deleting(range(10))
    truth.deleted(range(10))
    old, new = answer(list(range(40)), 40), answer(list(range(10, 50)), 40)
    assert judged(truth, old, 40)
    assert not judged(truth, old, 40, latest=False)
    assert not judged(truth, new, 40, latest=False)
    truth.settle(time.monotonic())
    assert judged(truth, old, 40, latest=False)
    assert not judged(truth, new, 40, latest=False)


def test_a_search_that_began_before_something_was_settled_is_not_held_to_it(truth: Truth) -> None:
    truth.settle(time.monotonic())
    old = answer(list(range(40)), 40)
    truth.deleting([5])
    truth.deleted([5])
    began = time.monotonic()
    truth.settle(time.monotonic())
    assert not truth.fault(QUERIES, 40, old, began, time.monotonic(), latest=False)
    assert truth.fault(QUERIES, 40, old, time.monotonic(), time.monotonic(), latest=False)


def test_a_row_that_is_sent_again_is_a_new_one(truth: Truth) -> None:
    truth.deleting([3])
    truth.deleted([3])
    truth.inserting([3], BASE[3:4])
    truth.inserted([3])
    assert not judged(truth, answer(list(range(40)), 40), 40)
    assert truth.kept() == [*(number for number in range(40) if number != 3), 3]
    np.testing.assert_array_equal(truth.vectors([3, 0]), BASE[[3, 0]])


def test_the_end_is_compared_row_by_row(truth: Truth) -> None:
    truth.inserting([50, 51], BASE[50:52])  # their end is unknown
    truth.deleting([0, 1])
    truth.deleted([0])
    assert not truth.loss([*range(1, 40), 50])
    assert not truth.loss([*range(2, 40)])
    assert truth.loss([*range(39), 77, 5]) == (
        "1 acknowledged rows are lost: [39]; 1 deleted rows are back: [0]; "
        "1 rows that nobody sent are there: [77]; 1 rows are there twice: [5]"
    )
