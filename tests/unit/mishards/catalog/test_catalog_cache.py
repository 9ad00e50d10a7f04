from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from harness.waiting import eventually
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Snapshot
from mishards.errors import CatalogError, CatalogUnavailable, ShuttingDown

WAIT_S = 20.0
NEVER_S = 3600.0


class Source:
    """A catalog that counts reads, and holds or fails them where it is told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.at_once = 0
        self.most_at_once = 0
        self.threads: set[str] = set()
        self.given: list[Snapshot | None] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def read(self, previous: Snapshot | None) -> Snapshot:
        taken_at = time.monotonic()
        self.given.append(previous)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.threads.add(threading.current_thread().name)
        self.reads += 1
        version = self.reads
        assert self.free.wait(WAIT_S)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return Snapshot(version, taken_at, {})


@pytest.fixture
def source() -> Source:
    return Source()


Open = Callable[..., SnapshotCache]


@pytest.fixture
def open_cache(source: Source) -> Iterator[Open]:
    opened: list[SnapshotCache] = []

    def make(interval_s: float = NEVER_S) -> SnapshotCache:
        opened.append(SnapshotCache(source.read, interval_s=interval_s))
        opened[-1].start()
        return opened[-1]

    yield make
    source.free.set()
    for cache in opened:
        cache.close()


def now(cache: SnapshotCache) -> Snapshot:
    return cache.fresh(time.monotonic()).result(WAIT_S)


def test_a_cache_that_has_not_read_has_nothing_and_says_so(source: Source) -> None:
    cache = SnapshotCache(source.read)
    assert cache.current is None
    assert cache.age_s == float("inf")
    assert (cache.error, cache.stalled_s) == (None, 0.0)
    cache.close()


def test_it_reads_by_itself_on_one_thread_of_a_telling_name(open_cache: Open, source: Source) -> None:
    open_cache(interval_s=0.001)
    eventually(lambda: source.reads > 3, WAIT_S, "it reads")
    assert source.threads == {"catalog-refresh"}
    assert source.most_at_once == 1


def test_each_read_is_given_the_snapshot_before_it(open_cache: Open, source: Source) -> None:
    cache = open_cache()
    first, second = now(cache), now(cache)
    assert source.given[-1] is not None
    assert source.given[0] is None
    assert [snapshot.version for snapshot in source.given if snapshot is not None][-1] == first.version
    assert cache.current is second


def test_a_fresh_snapshot_was_read_after_it_was_asked_for(open_cache: Open) -> None:
    cache = open_cache()
    for _ in range(5):
        asked = time.monotonic()
        assert cache.fresh(asked).result(WAIT_S).taken_at >= asked


def test_a_snapshot_that_is_new_enough_is_given_at_once_without_a_read(open_cache: Open, source: Source) -> None:
    cache = open_cache()
    current = now(cache)
    reads = source.reads
    future = cache.fresh(current.taken_at)
    assert future.done()
    assert future.result() is current
    assert source.reads == reads


def test_many_who_ask_at_once_share_one_read(open_cache: Open, source: Source) -> None:
    cache = open_cache()
    now(cache)
    source.free.clear()
    first = cache.fresh(time.monotonic())
    eventually(lambda: source.at_once == 1, WAIT_S, "a read is under way")
    reads = source.reads
    futures = [cache.fresh(time.monotonic()) for _ in range(200)]
    source.free.set()
    assert all(future.result(WAIT_S) is futures[0].result() for future in futures)
    assert source.reads == reads + 1
    assert first.result(WAIT_S).taken_at < futures[0].result().taken_at


def test_a_read_under_way_does_not_serve_who_asked_after_it_began(open_cache: Open, source: Source) -> None:
    source.free.clear()
    cache = open_cache()
    eventually(lambda: source.at_once == 1, WAIT_S, "a read is under way")
    asked = time.monotonic()
    future = cache.fresh(asked)
    source.free.set()
    assert future.result(WAIT_S).taken_at >= asked


def test_thousands_who_wait_are_served_in_one_pass(open_cache: Open, source: Source) -> None:
    """With a frozen database every search leaves one who waits."""
    cache = open_cache()
    source.free.clear()
    futures = [cache.fresh(time.monotonic()) for _ in range(20_000)]
    compared = 0

    class Counting(Future[Snapshot]):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

        __hash__ = Future.__hash__

    with cache._wake:
        cache._waiting = [(at, Counting()) for at, _ in cache._waiting]
        futures = [future for _, future in cache._waiting]
    source.free.set()
    for future in futures:
        future.result(WAIT_S)
    assert compared == 0


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failure_keeps_the_last_good_snapshot_and_fails_who_waits(
    open_cache: Open, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache()
    good = now(cache)
    with caplog.at_level(logging.INFO):
        source.error = CatalogUnavailable("away")
        for _ in range(3):
            with pytest.raises(CatalogUnavailable, match="away"):
                now(cache)
        assert cache.current is good
        assert cache.error is source.error
        source.error = None
        assert now(cache).version > good.version
        assert [cache.error] == [None]
    assert [record.getMessage() for record in caplog.records] == ["catalog is away: away", "catalog is back"]


def test_a_bug_in_reading_does_not_end_the_cache(open_cache: Open, source: Source) -> None:
    cache = open_cache()
    source.error = ValueError("a bug")
    with pytest.raises(CatalogError, match="a bug"):
        now(cache)
    source.error = None
    assert now(cache) is cache.current


def test_a_failing_database_is_not_asked_without_a_pause(open_cache: Open, source: Source) -> None:
    """Who waits for a later time than the failed read asks again, but not in a busy loop."""
    source.error = CatalogUnavailable("away")
    cache = open_cache()
    waited: list[float | None] = []
    wait = cache._wake.wait

    def watched(timeout: float | None = None) -> bool:
        waited.append(timeout)
        return wait(timeout)

    cache._wake.wait = watched  # type: ignore[method-assign]
    with pytest.raises(CatalogUnavailable):
        now(cache)
    future = cache.fresh(time.monotonic() + 0.2)
    with pytest.raises(CatalogUnavailable):
        future.result(WAIT_S)
    assert 0.05 in waited


def test_a_read_that_hangs_is_seen_from_outside(open_cache: Open, source: Source) -> None:
    cache = open_cache()
    current = now(cache)
    source.free.clear()
    future = cache.fresh(time.monotonic())
    eventually(lambda: cache.stalled_s > 0, WAIT_S, "a read is under way")
    with pytest.raises(FutureTimeoutError):
        future.result(0)
    assert cache.current is current
    source.free.set()
    future.result(WAIT_S)
    eventually(lambda: cache.stalled_s == 0, WAIT_S, "the read ends")


def test_who_gives_up_waiting_disturbs_nobody(open_cache: Open, source: Source) -> None:
    source.free.clear()
    cache = open_cache()
    eventually(lambda: source.at_once == 1, WAIT_S, "a read is under way")
    left, stays = cache.fresh(time.monotonic()), cache.fresh(time.monotonic())
    assert left.cancel()
    source.free.set()
    assert stays.result(WAIT_S) is cache.current


# --- the end ---------------------------------------------------------------------------------------------------------


def test_closing_ends_the_thread_between_two_reads(open_cache: Open) -> None:
    cache = open_cache()
    now(cache)
    cache.close()
    assert not cache._refresher.is_alive()
    with pytest.raises(ShuttingDown):
        now(cache)
    cache.close()


def test_closing_fails_who_waits_before_it_waits_for_a_read_that_hangs(open_cache: Open, source: Source) -> None:
    source.free.clear()
    cache = open_cache()
    eventually(lambda: source.at_once == 1, WAIT_S, "a read is under way")
    future = cache.fresh(time.monotonic())
    closing = threading.Thread(target=cache.close)
    closing.start()
    with pytest.raises(ShuttingDown):
        future.result(WAIT_S)
    assert cache._refresher.is_alive()
    source.free.set()
    closing.join(WAIT_S)
    assert not cache._refresher.is_alive()


def test_a_cache_that_was_never_started_fails_who_waits_when_it_is_closed(source: Source) -> None:
    cache = SnapshotCache(source.read)
    future = cache.fresh(0)
    cache.close()
    with pytest.raises(ShuttingDown):
        future.result(0)
