from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from harness.waiting import eventually_async
from milvus_node.service import pools
from milvus_node.service.pools import Pool, away
from mishards.errors import Overloaded, ShuttingDown

WAIT_S = 20.0


class Work:
    """Work that waits until it is let go, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.free = threading.Event()

    def __call__(self) -> str:
        self.begun += 1
        assert self.free.wait(WAIT_S)
        return threading.current_thread().name


@pytest.fixture
def work() -> Iterator[Work]:
    found = Work()
    yield found
    found.free.set()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One thread, and two calls that may wait for it."""
    found = Pool("search", 1, 2)
    yield found
    found.close()


async def begin(pool: Pool, work: Work, calls: int) -> list[asyncio.Task[str]]:
    """Start so many calls and wait until all are admitted, and the first one runs."""
    tasks = [asyncio.create_task(pool.run(work)) for _ in range(calls)]

    async def all_there() -> bool:
        return pool.admitted == calls and work.begun == 1

    await eventually_async(all_there, WAIT_S, "the calls are admitted")
    return tasks


async def empties(pool: Pool) -> None:
    async def empty() -> bool:
        return pool.admitted == 0

    await eventually_async(empty, WAIT_S, "everyone has left")


async def test_work_runs_on_a_thread_that_bears_the_pools_name(pool: Pool, work: Work) -> None:
    work.free.set()
    assert (await pool.run(work)).startswith("search")
    await empties(pool)


async def test_what_the_work_raises_reaches_the_caller_and_frees_its_place(pool: Pool) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await pool.run(fail)
    await empties(pool)


async def test_calls_beyond_the_limit_are_refused_and_admitted_again_later(pool: Pool, work: Work) -> None:
    tasks = await begin(pool, work, 3)
    for _ in range(2):
        with pytest.raises(Overloaded, match="3 search calls are under way or waiting already"):
            await pool.run(work)
    work.free.set()
    await asyncio.gather(*tasks)
    await empties(pool)
    await pool.run(work)


async def test_a_call_that_is_cancelled_while_it_waits_never_runs(pool: Pool, work: Work) -> None:
    running, waiting = await begin(pool, work, 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async def left() -> bool:
        return pool.admitted == 1

    await eventually_async(left, WAIT_S, "its place is free")
    work.free.set()
    await running
    await empties(pool)
    assert work.begun == 1


async def test_a_call_that_is_cancelled_while_it_runs_keeps_its_place_until_it_ends(pool: Pool, work: Work) -> None:
    (running,) = await begin(pool, work, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert pool.admitted == 1
    work.free.set()
    await empties(pool)


async def test_a_closed_pool_refuses_and_drops_who_waits_and_lets_the_running_one_end(pool: Pool, work: Work) -> None:
    running, waiting = await begin(pool, work, 2)
    pool.close()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await pool.run(work)
    work.free.set()
    await running
    assert work.begun == 1


async def test_pools_do_not_starve_each_other(pool: Pool, work: Work) -> None:
    other = Pool("info", 1, 0)
    tasks = await begin(pool, work, 3)
    free = Work()
    free.free.set()
    assert (await other.run(free)).startswith("info")
    work.free.set()
    await asyncio.gather(*tasks)
    other.close()


async def test_a_refused_call_never_runs(pool: Pool, work: Work) -> None:
    tasks = await begin(pool, work, 3)
    refused = Work()
    with contextlib.suppress(Overloaded):
        await pool.run(refused)
    work.free.set()
    await asyncio.gather(*tasks)
    await empties(pool)
    assert refused.begun == 0


def away_until(free: threading.Event) -> str:
    with away():
        assert free.wait(WAIT_S)
    return "back"


async def test_others_work_in_the_place_of_a_thread_that_is_away(pool: Pool, work: Work) -> None:
    free = threading.Event()
    waiting = asyncio.create_task(pool.run(lambda: away_until(free)))
    work.free.set()
    assert (await asyncio.wait_for(pool.run(work), WAIT_S)).startswith("search")
    assert not waiting.done()
    free.set()
    assert await waiting == "back"

    async def all_rest() -> bool:
        return pool._working == pool._away == 0

    await eventually_async(all_rest, WAIT_S, "every thread rests")


async def test_a_pool_whose_threads_came_back_rests_none_that_is_needed_and_works_on_no_more_than_before() -> None:
    pool, free, at_once = Pool("search", 1, 200), threading.Event(), [0, 0]
    lock = threading.Lock()

    def step() -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        with lock:
            at_once[0] -= 1

    gone = [asyncio.create_task(pool.run(lambda: away_until(free))) for _ in range(5)]
    steps = [asyncio.create_task(pool.run(step)) for _ in range(100)]
    free.set()
    await asyncio.wait_for(asyncio.gather(*gone, *steps), WAIT_S)
    assert at_once[1] <= 6  # those that came back end what they had begun
    alone = [asyncio.create_task(pool.run(step)) for _ in range(100)]
    at_once[1] = 0
    await asyncio.wait_for(asyncio.gather(*alone), WAIT_S)
    assert at_once[1] == 1
    pool.close()


async def test_no_more_threads_are_away_than_may_be(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    monkeypatch.setattr(pools, "MAX_AWAY", 1)
    pool, free = Pool("search", 1, 10), threading.Event()
    gone = [asyncio.create_task(pool.run(lambda: away_until(free))) for _ in range(2)]
    work.free.set()
    late = asyncio.create_task(pool.run(work))

    async def all_stand_still() -> bool:
        return pool._away == 1 and pool._working == 1 and pool.admitted == 3

    await eventually_async(all_stand_still, WAIT_S, "one is away, one keeps its place")
    assert work.begun == 0
    free.set()
    assert await asyncio.wait_for(asyncio.gather(*gone), WAIT_S) == ["back", "back"]
    await asyncio.wait_for(late, WAIT_S)
    pool.close()


def test_a_thread_of_no_pool_just_waits() -> None:
    with away():
        assert threading.current_thread() is threading.main_thread()
