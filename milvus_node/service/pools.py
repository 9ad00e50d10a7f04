"""Where a call's blocking work runs: one pool of threads a class of calls, so that none starves another.

Work may end early and leave a ``Share``: the rest of it, which can be done together with that of others. Nobody waits
for company. A thread that is free first begins all calls that have come, then takes the shares of one key that wait by
then; so batches grow with the load, and a call that is alone goes through on one thread without a stop. Where larger
batches gain nothing, one is half of what is under way at most: while it is worked on, the callers of the other half get
their answers and come again, so that neither they nor this machine have to wait for the other.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from milvus_node.search.batching import BatchQueue
from milvus_node.service.jobs import MAX_BATCH_ROWS, Done, Job, Share, Told, done_together
from milvus_node.service.threads import Threads
from mishards.errors import Overloaded, ShuttingDown
from mishards.transport.api import settling

T = TypeVar("T")

MAX_AWAY: Final = 64
"""Threads of a pool that may wait for the folder while others do their work; beyond that they keep their places."""

_of_this_thread = threading.local()


@contextmanager
def away() -> Iterator[None]:
    """Wait for something else than a processor: while the block lasts, the pool lets another thread work.

    On a thread that belongs to no pool this does nothing.
    """
    pool: Pool | None = getattr(_of_this_thread, "pool", None)
    if pool is None:
        yield
    else:
        with pool.lent():
            yield


class Pool:
    """Threads for one class of calls and a bounded queue before them. ``run`` belongs to one event loop."""

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        """``max_waiting``: calls beyond the running ones that may wait; one more is refused."""
        self._name = name
        self._threads = threads
        self._limit = threads + max_waiting
        self._admitted = 0
        self._lock = threading.Lock()
        self._reserve = Threads(name, threads + MAX_AWAY, self._lock, self._work)
        self._working = 0  # threads that will look for jobs again before they rest, without those away
        self._away = 0
        self._woken = False  # will threads be woken at the end of this turn of the event loop? under the lock
        self._new: deque[Job] = deque()
        self._shares: BatchQueue[Job] = BatchQueue()
        self._closed = False

    @property
    def admitted(self) -> int:
        """Calls running or waiting."""
        return self._admitted

    async def run(self, work: Callable[[], T | Share[T]]) -> T:
        """Run ``work``, and the share that it may leave; a caller that gives up while it waits costs nothing more.

        Raises:
            Overloaded: too many calls wait already.
            ShuttingDown: the pool is closed.
        """
        result: T = await self._result(work, None)
        return result

    async def share(self, share: Share[T]) -> T:
        """Do a share; otherwise as ``run``."""
        result: T = await self._result(None, share)
        return result

    def begin(self, share: Share[Any], told: Told) -> Callable[[], None] | None:
        """Do a share without a task: return what gives it up, or None, with nothing done, where it is not admitted."""
        if self._admitted >= self._limit:
            return None
        job = Job(None, share, asyncio.get_running_loop(), told)
        with self._lock:
            if self._closed:
                return None
            self._put(job)
        self._admitted += 1
        return partial(self._give_up, job)

    async def _result(self, work: Callable[[], Any] | None, share: Share[Any] | None) -> Any:
        if self._admitted >= self._limit and not self._closed:
            raise Overloaded(f"{self._limit} {self._name} calls are under way or waiting already; try again later")
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        job = Job(work, share, loop, settling(reply))
        with self._lock:
            if self._closed:
                raise ShuttingDown
            self._put(job)
        self._admitted += 1
        try:
            return await reply
        except asyncio.CancelledError:
            self._give_up(job)
            raise

    def _put(self, job: Job) -> None:
        """Let a job wait. What else comes in this turn of the event loop is there, too, when a thread looks."""
        if job.share is None:
            self._new.append(job)
        else:
            self._shares.add(job.share.key, job, job.share.rows)
        if self._working < self._threads and not self._woken:
            self._woken = True
            job.loop.call_soon(self._wake_threads)

    def _wake_threads(self) -> None:
        with self._lock:
            self._woken = False
            for _ in range(min(len(self._new) + len(self._shares), self._threads - self._working)):
                self._wake_a_thread()

    def _give_up(self, job: Job) -> None:
        """Nobody waits for a job any more; may be repeated."""
        with self._lock:
            if not job.given_up:
                job.given_up = True
                if job.waits:
                    self._admitted -= 1

    def close(self) -> None:
        """Refuse new work, drop what waits; what runs goes on to its end."""
        with self._lock:
            self._closed = True
            dropped = list(self._new)
            self._new.clear()
            while batch := self._shares.take(_all):
                dropped += batch
            dropped = self._picked(dropped)
            self._reserve.close()
        self._deliver([(job, None, ShuttingDown()) for job in dropped])

    # --- on the threads; what needs the lock says so -----------------------------------------------------------------

    def _wake_a_thread(self) -> None:
        """Let one more thread look for jobs where some wait, unless all do or the pool is closed; under the lock."""
        if (self._new or self._shares) and self._working < self._threads and not self._closed:
            self._working += 1
            self._reserve.wake()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """See ``away``; on a thread of this pool."""
        with self._lock:
            lent = self._away < MAX_AWAY
            if lent:
                self._away += 1
                self._working -= 1
                self._wake_a_thread()
        try:
            yield
        finally:
            if lent:
                with self._lock:
                    self._away -= 1
                    self._working += 1

    def _work(self) -> None:
        """Do jobs while there are any."""
        _of_this_thread.pool = self
        shares_first = False
        while batch := self._next(shares_first):
            if batch[0].share is None:
                # Calls that are cheap to begin go before shares; one that was long must not keep them waiting again.
                shares_first = not self._begin(batch[0])
            else:
                self._deliver(done_together(batch))
                shares_first = False
                os.sched_yield()  # where both have one processor, the event loop answers before this goes on

    def _next(self, shares_first: bool) -> list[Job]:
        """A new call or a batch of shares; nothing when this thread may rest."""
        with self._lock:
            # More than there should be work after one came back from being away; what it had begun is done.
            while (self._new or self._shares) and self._working <= self._threads:
                new = self._new and not (shares_first and self._shares)
                taken = [self._new.popleft()] if new else self._shares.take(self._most_rows)
                if picked := self._picked(taken):
                    self._wake_a_thread()
                    return picked
            self._working -= 1
            self._reserve.rest()
            return []

    def _most_rows(self, first: Job) -> int:
        enough = MAX_BATCH_ROWS if first.share is None else first.share.enough
        return min(MAX_BATCH_ROWS, max(enough, self._admitted // 2))

    def _picked(self, taken: Sequence[Job]) -> list[Job]:
        """Those of the jobs that someone still waits for, waiting in line no more; under the lock."""
        wanted = [job for job in taken if not job.given_up]
        for job in wanted:
            job.waits = False
        return wanted

    def _begin(self, job: Job) -> bool:
        """Do the call's work; did it end in line with a share?"""
        assert job.work is not None  # noqa: S101 - narrows the type; a job without work has its share from the start
        try:
            result = job.work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self._deliver([(job, None, error)])
            return False
        if not isinstance(result, Share):
            self._deliver([(job, result, None)])
            return False
        job.share = result
        with self._lock:
            if not (self._closed or job.given_up):
                job.waits = True
                self._shares.add(result.key, job, result.rows)
                if len(self._shares) > 1:
                    self._wake_a_thread()
                return True
        self._deliver([(job, None, None)] if job.given_up else done_together([job]))
        return False

    def _deliver(self, done: list[Done]) -> None:
        """Hand results to their callers, all at once."""
        if done:
            loop = done[0][0].loop
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._settle, done)

    def _settle(self, done: list[Done]) -> None:
        self._admitted -= len(done)
        for job, result, error in done:
            if not job.given_up:
                job.told(result, error)


def _all(_: Job) -> int:
    return MAX_BATCH_ROWS
