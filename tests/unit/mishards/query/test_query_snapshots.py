from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event

import pytest

from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Snapshot
from mishards.deadline import Deadline
from mishards.errors import CatalogUnavailable
from mishards.query.options import Consistency, SearchOptions
from mishards.query.snapshots import Snapshots
from mishards.testing.waiting import eventually_async
from mishards.wire.params import CONSISTENCY_LEVELS

OPTIONS = SearchOptions(metadata_wait_ms=50)


class Database:
    """Reads as told: at once, an error, or hanging until it is let go."""

    def __init__(self) -> None:
        self.away = False
        self.hangs = False
        self.let_go = Event()
        self.reads = 0

    def read(self, previous: Snapshot | None) -> Snapshot:
        taken_at = time.monotonic()
        self.reads += 1
        if self.hangs:
            self.let_go.wait(20)
        if self.away:
            raise CatalogUnavailable("away")
        return Snapshot(1 if previous is None else previous.version + 1, taken_at, {})


@asynccontextmanager
async def snapshots_of(database: Database) -> AsyncIterator[tuple[Snapshots, SnapshotCache]]:
    """A cache that reads only when it is asked."""
    cache = SnapshotCache(database.read, interval_s=600)
    cache.start()
    try:
        yield Snapshots(cache, OPTIONS), cache
    finally:
        database.let_go.set()
        cache.close()


def soon() -> Deadline:
    return Deadline.after(10)


async def test_the_first_snapshot_is_waited_for() -> None:
    async with snapshots_of(Database()) as (snapshots, _):
        assert (await snapshots.at(Consistency.EVENTUALLY, 0, soon())).version == 1


async def test_eventually_never_waits_and_bounded_waits_for_one_that_is_new_enough() -> None:
    async with snapshots_of(Database()) as (snapshots, _):
        first = await snapshots.at(Consistency.EVENTUALLY, 0, soon())
        assert await snapshots.at(Consistency.EVENTUALLY, 0, soon()) is first
        assert await snapshots.at(Consistency.BOUNDED, 60_000, soon()) is first
        newer = await snapshots.at(Consistency.BOUNDED, 0, soon())
        assert newer.taken_at > first.taken_at


async def test_session_looks_no_further_back_than_the_last_write() -> None:
    async with snapshots_of(Database()) as (snapshots, _):
        first = await snapshots.at(Consistency.SESSION, 60_000, soon())
        assert await snapshots.at(Consistency.SESSION, 60_000, soon()) is first
        snapshots.wrote()
        second = await snapshots.at(Consistency.SESSION, 60_000, soon())
        assert second.taken_at > first.taken_at
        assert await snapshots.at(Consistency.SESSION, 60_000, soon()) is second


async def test_many_who_need_a_newer_one_share_a_read() -> None:
    database = Database()
    async with snapshots_of(database) as (snapshots, _):
        await snapshots.at(Consistency.EVENTUALLY, 0, soon())
        snapshots.wrote()
        await asyncio.gather(*(snapshots.at(Consistency.SESSION, 60_000, soon()) for _ in range(50)))
        assert database.reads <= 3


async def test_a_database_that_fails_leaves_the_last_good_snapshot_to_all_but_strong() -> None:
    database = Database()
    async with snapshots_of(database) as (snapshots, _):
        good = await snapshots.at(Consistency.EVENTUALLY, 0, soon())
        database.away = True
        snapshots.wrote()
        for level in (Consistency.EVENTUALLY, Consistency.BOUNDED, Consistency.SESSION):
            assert await snapshots.at(level, 0, soon()) is good
        with pytest.raises(CatalogUnavailable):
            await snapshots.at(Consistency.STRONG, 0, soon())


async def test_a_database_that_hangs_costs_one_bounded_wait_and_then_none() -> None:
    database = Database()
    async with snapshots_of(database) as (snapshots, cache):
        good = await snapshots.at(Consistency.EVENTUALLY, 0, soon())
        database.hangs = True
        snapshots.wrote()
        assert await snapshots.at(Consistency.SESSION, 60_000, soon()) is good
        await eventually_async(lambda: cache.stalled_s > 1.0)
        with pytest.raises(StopIteration) as returned:
            snapshots.at(Consistency.SESSION, 60_000, soon()).send(None)  # returns without waiting for anything
        assert returned.value.value is good


async def test_without_any_snapshot_a_failing_database_is_an_error() -> None:
    database = Database()
    database.away = True
    async with snapshots_of(database) as (snapshots, _):
        with pytest.raises(CatalogUnavailable):
            await snapshots.at(Consistency.EVENTUALLY, 0, soon())


async def test_the_deadline_bounds_the_wait_for_the_first_snapshot() -> None:
    database = Database()
    database.hangs = True
    async with snapshots_of(database) as (snapshots, _):
        with pytest.raises(CatalogUnavailable, match="did not answer in time"):
            await snapshots.at(Consistency.EVENTUALLY, 0, Deadline.after(0.05))


def test_levels_have_the_names_that_clients_use() -> None:
    assert {level.value for level in Consistency} == {name.lower() for name in CONSISTENCY_LEVELS}
