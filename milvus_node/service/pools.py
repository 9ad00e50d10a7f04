"""Where a call's blocking work runs: one pool of threads a class of calls, so that none starves another.

Work may end early and leave a ``Share``: the rest of it, which can be done together with that of others. Nobody waits
for company. A thread that is free first begins all calls that have come, then takes the shares of one key that wait by
then; so batches grow with the load, and a call that is alone goes through on one thread without a stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from milvus_node.search.batching import BatchQueue
from mishards.errors import Overloaded, ShuttingDown

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_BATCH_ROWS = 256
"""Rows of shares that are done together; one larger share is done alone."""

MAX_AWAY = 64
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


@dataclass(frozen=True, slots=True)
class Share(Generic[T_co]):
    """The rest of a call's work: ``item``, which ``together`` turns into a result along with others of its key.

    ``together`` gets the items of some shares of one key and returns as many results, in their order.
    """

    key: Hashable
    rows: int
    item: Any
    together: Callable[[Sequence[Any]], Sequence[T_co]]


class _Job:
    """One call: work to begin, or a share to do.

    ``waits`` and ``given_up`` belong to the pool's lock, ``reply`` to the event loop.
    """

    __slots__ = ("given_up", "reply", "share", "waits", "work")

    def __init__(self, work: Callable[[], Any] | None, share: Share[Any] | None, reply: asyncio.Future[Any]) -> None:
        self.work = work
        self.share = share
        self.reply = reply
        self.waits = True
        self.given_up = False


_Outcome = tuple[_Job, Any, BaseException | None]


class Pool:
    """Threads for one class of calls and a bounded queue before them. ``run`` belongs to one event loop."""

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        """``max_waiting``: calls beyond the running ones that may wait; one more is refused."""
        self._name = name
        self._threads = threads
        self._limit = threads + max_waiting
        self._admitted = 0
        self._executor = ThreadPoolExecutor(threads + MAX_AWAY, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._working = 0  # threads that will look for jobs again before they rest, without those away
        self._away = 0
        self._new: deque[_Job] = deque()
        self._shares: BatchQueue[_Job] = BatchQueue()
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
        result: T = await self._reply(self._admit(work, None))
        return result

    async def share(self, share: Share[T]) -> T:
        """Do a share; otherwise as ``run``."""
        result: T = await self._reply(self._admit(None, share))
        return result

    def _admit(self, work: Callable[[], Any] | None, share: Share[Any] | None) -> _Job:
        if self._admitted >= self._limit and not self._closed:
            raise Overloaded(f"{self._limit} {self._name} calls are under way or waiting already; try again later")
        job = _Job(work, share, asyncio.get_running_loop().create_future())
        with self._lock:
            if self._closed:
                raise ShuttingDown
            if share is None:
                self._new.append(job)
            else:
                self._shares.add(share.key, job, share.rows)
            self._wake_a_thread()
        self._admitted += 1
        return job

    async def _reply(self, job: _Job) -> Any:
        try:
            return await job.reply
        except asyncio.CancelledError:
            with self._lock:
                job.given_up = True
                if job.waits:
                    self._admitted -= 1
            raise

    def close(self) -> None:
        """Refuse new work, drop what waits; what runs goes on to its end."""
        with self._lock:
            self._closed = True
            dropped = list(self._new)
            self._new.clear()
            while batch := self._shares.take(MAX_BATCH_ROWS):
                dropped += batch
            dropped = self._picked(dropped)
        self._deliver([(job, None, ShuttingDown()) for job in dropped])
        self._executor.shutdown(wait=False)

    # --- on the threads; what needs the lock says so -----------------------------------------------------------------

    def _wake_a_thread(self) -> None:
        """Let one more thread look for jobs, unless all do or the pool is closed; under the lock."""
        if self._working < self._threads and not self._closed:
            self._working += 1
            self._executor.submit(self._work)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """See ``away``; on a thread of this pool."""
        with self._lock:
            lent = self._away < MAX_AWAY
            if lent:
                self._away += 1
                self._working -= 1
                if self._new or self._shares:
                    self._wake_a_thread()
        try:
            yield
        finally:
            if lent:
                with self._lock:
                    self._away -= 1
                    self._working += 1

    def _work(self) -> None:
        _of_this_thread.pool = self
        shares_first = False
        while batch := self._next(shares_first):
            if batch[0].share is None:
                # Calls that are cheap to begin go before shares; one that was long must not keep them waiting again.
                shares_first = not self._begin(batch[0])
            else:
                self._deliver(_finished(batch))
                shares_first = False

    def _next(self, shares_first: bool) -> list[_Job]:
        """A new call or a batch of shares; nothing when this thread may rest."""
        with self._lock:
            # More than there should be work after one came back from being away; what it had begun is done.
            while (self._new or self._shares) and self._working <= self._threads:
                new = self._new and not (shares_first and self._shares)
                taken = [self._new.popleft()] if new else self._shares.take(MAX_BATCH_ROWS)
                if picked := self._picked(taken):
                    return picked
            self._working -= 1
            return []

    def _picked(self, taken: Sequence[_Job]) -> list[_Job]:
        """Those of the jobs that someone still waits for, waiting in line no more; under the lock."""
        wanted = [job for job in taken if not job.given_up]
        for job in wanted:
            job.waits = False
        return wanted

    def _begin(self, job: _Job) -> bool:
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
        self._deliver([(job, None, None)] if job.given_up else _finished([job]))
        return False

    def _deliver(self, outcomes: list[_Outcome]) -> None:
        """Hand results to their callers, all at once."""
        if outcomes:
            loop = outcomes[0][0].reply.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._settle, outcomes)

    def _settle(self, outcomes: list[_Outcome]) -> None:
        self._admitted -= len(outcomes)
        for job, result, error in outcomes:
            if job.reply.done():
                continue  # the caller gave up
            if error is None:
                job.reply.set_result(result)
            else:
                job.reply.set_exception(error)


def _finished(batch: Sequence[_Job]) -> list[_Outcome]:
    """Do the shares of a batch together; one by one where that fails, so that each caller has its own error."""
    shares = [job.share for job in batch if job.share is not None]
    try:
        results = shares[0].together([share.item for share in shares])
        return [(job, result, None) for job, result in zip(batch, results, strict=True)]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the callers'
        if len(batch) == 1:
            return [(batch[0], None, error)]
    return [outcome for job in batch for outcome in _finished([job])]
