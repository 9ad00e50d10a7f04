"""Where a call's blocking work runs: one pool of threads a class of calls, so that none starves another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mishards.errors import Overloaded, ShuttingDown

T = TypeVar("T")


class Pool:
    """Threads for one class of calls and a bounded queue before them. ``run`` belongs to one event loop."""

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        """``max_waiting``: calls beyond the running ones that may wait; one more is refused."""
        self._name = name
        self._limit = threads + max_waiting
        self._admitted = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._closed = False

    @property
    def admitted(self) -> int:
        """Calls running or waiting."""
        return self._admitted

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread; a caller that gives up while it waits costs nothing more.

        Raises:
            Overloaded: too many calls wait already.
            ShuttingDown: the pool is closed.
        """
        if self._closed:
            raise ShuttingDown
        if self._admitted >= self._limit:
            raise Overloaded(f"{self._limit} {self._name} calls are under way or waiting already; try again later")
        future = self._executor.submit(work)
        self._admitted += 1
        future.add_done_callback(self._left(asyncio.get_running_loop()))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._dropped(future):
                raise ShuttingDown from None
            raise

    def _dropped(self, future: Future[T]) -> bool:
        """Did the pool give up this call, and not its caller?"""
        return self._closed and future.cancelled()

    def _left(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def on_loop() -> None:
            self._admitted -= 1

        def left(_future: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(on_loop)

        return left

    def close(self) -> None:
        """Refuse new work, drop what waits; what runs goes on to its end."""
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
