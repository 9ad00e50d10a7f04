"""Shares of work that a pool does together. One thread, held back, so that the others of a test wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from harness.waiting import eventually_async
from milvus_node.service.jobs import MAX_BATCH_ROWS, Share
from milvus_node.service.pools import Pool
from mishards.errors import ShuttingDown

WAIT_S = 20.0


class Kitchen:
    """Makes shares that double numbers and fail at a 13, and keeps what was done together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.free = threading.Event()

    def order(
        self, item: int, key: str = "key", rows: int = 1, enough: int = MAX_BATCH_ROWS
    ) -> Callable[[], int | Share[int]]:
        """Work that leaves a share."""
        return lambda: Share(key, rows, item, self._together, enough)

    def hold(self) -> None:
        """Work that keeps its thread until ``free`` is set."""
        self.begun.set()
        assert self.free.wait(WAIT_S)

    def slow(self) -> int:
        """Work that is held and leaves no share."""
        self.hold()
        return 0

    def _together(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


@pytest.fixture
def kitchen() -> Iterator[Kitchen]:
    found = Kitchen()
    yield found
    found.free.set()


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool("search", 1, 100)
    yield found
    found.close()


async def held(pool: Pool, kitchen: Kitchen) -> asyncio.Task[None]:
    """Occupy the only thread."""
    task = asyncio.create_task(pool.run(kitchen.hold))
    await asyncio.to_thread(kitchen.begun.wait, WAIT_S)
    return task


async def ordered(pool: Pool, orders: Sequence[Callable[[], int | Share[int]]]) -> list[asyncio.Task[int]]:
    """Start calls and wait until each is in line."""
    before = pool.admitted
    tasks = [asyncio.create_task(pool.run(order)) for order in orders]

    async def in_line() -> bool:
        return pool.admitted == before + len(orders)

    await eventually_async(in_line, WAIT_S, "the calls are in line")
    return tasks


async def empties(pool: Pool) -> None:
    async def empty() -> bool:
        return pool.admitted == 0

    await eventually_async(empty, WAIT_S, "everyone has left")


async def test_a_call_that_is_alone_waits_for_no_company(pool: Pool, kitchen: Kitchen) -> None:
    assert await pool.run(kitchen.order(4)) == 8
    assert kitchen.batches == [[4]]
    await empties(pool)


async def test_shares_that_wait_under_one_key_are_done_together_and_others_are_not(
    pool: Pool, kitchen: Kitchen
) -> None:
    await held(pool, kitchen)
    tasks = await ordered(
        pool, [kitchen.order(1, "a"), kitchen.order(2, "b"), kitchen.order(3, "a"), kitchen.order(4, "a")]
    )
    kitchen.free.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert kitchen.batches == [[1, 3, 4], [2]]
    await empties(pool)


async def test_a_batch_has_no_more_than_its_rows_and_a_large_share_is_done_alone(pool: Pool, kitchen: Kitchen) -> None:
    await held(pool, kitchen)
    half = MAX_BATCH_ROWS // 2
    sizes = [half, half, 1, 10 * MAX_BATCH_ROWS, 1]
    tasks = await ordered(pool, [kitchen.order(number, rows=rows) for number, rows in enumerate(sizes)])
    kitchen.free.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
    assert kitchen.batches == [[0, 1], [2], [3], [4]]


async def test_where_more_gains_nothing_a_batch_is_half_of_what_is_under_way_or_what_is_enough(
    pool: Pool, kitchen: Kitchen
) -> None:
    await held(pool, kitchen)
    tasks = await ordered(pool, [kitchen.order(number, enough=4) for number in range(20, 40)])
    kitchen.free.set()
    assert await asyncio.gather(*tasks) == [2 * number for number in range(20, 40)]
    first, *others = [len(batch) for batch in kitchen.batches]
    assert first == 10
    assert all(4 <= size <= 10 for size in others[:-1])


async def test_threads_share_what_comes_at_once() -> None:
    """Two batches that each wait for the other."""
    pool, both = Pool("search", 2, 100), threading.Barrier(2)

    def together(items: Sequence[int]) -> list[int]:
        both.wait(WAIT_S)
        return list(items)

    shares = [Share("key", 1, number, together, enough=1) for number in range(4)]
    assert await asyncio.gather(*(pool.share(share) for share in shares)) == [0, 1, 2, 3]
    pool.close()


async def test_an_error_of_one_share_fails_nobody_else(pool: Pool, kitchen: Kitchen) -> None:
    await held(pool, kitchen)
    tasks = await ordered(pool, [kitchen.order(1), kitchen.order(13), kitchen.order(2)])
    kitchen.free.set()
    first, bad, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert [first, str(bad), last] == [2, "13", 4]
    await empties(pool)


async def test_an_error_before_the_share_fails_nobody_else(pool: Pool, kitchen: Kitchen) -> None:
    def fail() -> Share[int]:
        raise ValueError("no")

    await held(pool, kitchen)
    tasks = await ordered(pool, [kitchen.order(1), fail, kitchen.order(2)])
    kitchen.free.set()
    first, bad, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert [first, str(bad), last] == [2, "no", 4]
    assert [item for batch in kitchen.batches for item in batch] == [1, 2]


async def test_a_caller_that_gives_up_is_left_out_and_the_rest_is_answered(pool: Pool, kitchen: Kitchen) -> None:
    await held(pool, kitchen)
    tasks = await ordered(pool, [kitchen.order(number) for number in (1, 2, 3)])
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert pool.admitted == 3
    kitchen.free.set()
    assert [await tasks[0], await tasks[2]] == [2, 6]
    assert kitchen.batches == [[1, 3]]
    await empties(pool)


async def test_a_caller_that_gives_up_while_its_share_is_in_line_is_left_out(pool: Pool, kitchen: Kitchen) -> None:
    """The thread is held between the beginning of a call and its share."""
    await held(pool, kitchen)
    second = Kitchen()
    *tasks, slow = await ordered(pool, [kitchen.order(1), kitchen.order(2), second.slow])
    kitchen.free.set()
    await asyncio.to_thread(second.begun.wait, WAIT_S)  # both shares are in line behind it
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    second.free.set()
    assert await slow == 0
    assert await tasks[1] == 4
    assert kitchen.batches == [[2]]
    await empties(pool)


async def test_calls_without_shares_do_not_starve_those_with(pool: Pool, kitchen: Kitchen) -> None:
    order: list[str] = []

    def whole() -> None:
        order.append(f"whole, {len(kitchen.batches)} batches before")

    await held(pool, kitchen)
    (share,) = await ordered(pool, [kitchen.order(1)])
    tasks = [asyncio.create_task(pool.run(whole)) for _ in range(3)]

    async def in_line() -> bool:
        return pool.admitted == 5

    await eventually_async(in_line, WAIT_S, "the calls are in line")
    kitchen.free.set()
    await asyncio.gather(share, *tasks)
    assert order == ["whole, 0 batches before", "whole, 1 batches before", "whole, 1 batches before"]


async def test_a_closed_pool_drops_the_shares_in_line(pool: Pool, kitchen: Kitchen) -> None:
    await held(pool, kitchen)
    tasks = await ordered(pool, [kitchen.order(1), kitchen.order(2)])
    pool.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ShuttingDown, ShuttingDown]
    assert kitchen.batches == []


async def test_many_callers_of_many_keys_get_their_own_results(kitchen: Kitchen) -> None:
    pool = Pool("search", 3, 1000)
    numbers = [number for number in range(500) if number != 13]
    tasks = [pool.run(kitchen.order(number, key=str(number % 7), rows=1 + number % 50)) for number in numbers]
    assert await asyncio.gather(*tasks) == [2 * number for number in numbers]
    await empties(pool)
    pool.close()
    assert sorted(item for batch in kitchen.batches for item in batch) == numbers
