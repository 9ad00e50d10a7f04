from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from milvus_node.search.batching import BatchQueue

MAX_ROWS = 10

Item = tuple[int, str, int]
"""Number of arrival, key, rows."""


def most(_: object) -> int:
    return MAX_ROWS


def naive_take(waiting: list[Item], max_rows: int) -> list[Item]:
    """Take the oldest item, and what follows of its key for as long as it fits."""
    if not waiting:
        return []
    taken = [waiting[0]]
    for item in waiting[1:]:
        if item[1] == taken[0][1]:
            if sum(rows for _, _, rows in taken) + item[2] > max_rows:
                break
            taken.append(item)
    for item in taken:
        waiting.remove(item)
    return taken


@given(st.lists(st.none() | st.tuples(st.sampled_from("abc"), st.integers(1, MAX_ROWS + 3)), max_size=40))
def test_a_batch_is_the_oldest_item_and_what_follows_of_its_key_as_long_as_it_fits(
    steps: list[tuple[str, int] | None],
) -> None:
    queue: BatchQueue[Item] = BatchQueue()
    waiting: list[Item] = []
    for number, step in enumerate([*steps, *[None] * len(steps)]):
        if step is None:
            assert queue.take(most) == naive_take(waiting, MAX_ROWS)
        else:
            waiting.append((number, *step))
            queue.add(step[0], waiting[-1], step[1])
        assert len(queue) == len({key for _, key, _ in waiting})
    assert not waiting


def test_an_item_larger_than_a_batch_comes_alone() -> None:
    queue: BatchQueue[str] = BatchQueue()
    queue.add("key", "large", MAX_ROWS + 1)
    queue.add("key", "small", 1)
    assert [queue.take(most), queue.take(most), queue.take(most)] == [["large"], ["small"], []]
