from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from milvus_node.ids import IdGenerator


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3500)), max_size=20))
def test_ids_rise_strictly_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    clock = iter([now for now, _ in steps])
    ids = IdGenerator(lambda: next(clock))
    given_ids = [ids.batch(count) for _, count in steps]
    assert [len(batch) for batch in given_ids] == [count for _, count in steps]
    together = np.concatenate([np.empty(0, np.int64), *given_ids])
    assert (np.diff(together) > 0).all()


def test_ids_are_microseconds_times_a_thousand_and_a_position() -> None:
    ids = IdGenerator(lambda: 1_700_000_000_000_000)
    assert ids.batch(3).tolist() == [1_700_000_000_000_000_000 + position for position in range(3)]
    assert ids.one() == "1700000000000001000"


def test_a_large_batch_takes_further_microseconds() -> None:
    ids = IdGenerator(lambda: 5)
    assert ids.batch(1001).tolist() == list(range(5000, 6001))
    assert ids.batch(1).tolist() == [7000]


@given(taken=st.integers(0, 10**7))
def test_nothing_at_or_below_what_is_taken_is_given(taken: int) -> None:
    ids = IdGenerator(lambda: 0)
    ids.not_below(taken)
    assert ids.batch(1)[0] > taken
    ids.not_below(0)
    assert ids.batch(1)[0] > taken


def test_threads_never_get_the_same_id() -> None:
    ids = IdGenerator(lambda: 0)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: ids.batch(7), range(500)))
    assert len(set(np.concatenate(batches).tolist())) == 3500
