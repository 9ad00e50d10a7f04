from __future__ import annotations

import asyncio
import contextlib

from mishards.cluster.tasks import end


async def test_a_task_that_misses_a_cancellation_is_ended_all_the_same() -> None:
    missed = asyncio.Event()

    async def hard_of_hearing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        missed.set()
        await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(hard_of_hearing())
    await asyncio.sleep(0)
    await end([task])
    assert missed.is_set()
    assert task.cancelled()


async def test_ending_nothing_or_what_has_ended_returns() -> None:
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    await task
    await end([])
    await end([task])
