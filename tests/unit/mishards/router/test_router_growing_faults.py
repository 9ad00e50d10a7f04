"""What a search does when the writable node, asked for growing rows, is away or does not do what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.node_rpc import floats, records
from harness.real_cluster import PATIENT, Door, RealCluster, real_cluster
from mishards.cluster.health import HealthOptions
from mishards.command.forward import WriteOptions
from mishards.errors import MishardsError, NodeUnavailable
from mishards.query.options import SearchOptions
from mishards.transport.api import Handler
from mishards.wire.extensions import GROWING_KEY

STRONG = '{"consistency_level": "Strong"}'
SESSION = '{"consistency_level": "Session"}'
EVENTUALLY = '{"consistency_level": "Eventually"}'
BOUNDED_NOW = '{"consistency_level": "Bounded", "graceful_time_ms": 0}'


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RealCluster]:
    async with real_cluster(tmp_path) as made:
        yield made


async def filled(cluster: RealCluster) -> None:
    """Rows 1 and 2 in a segment that both routers know."""
    first, second = cluster.doors
    await first.create()
    await first.insert(floats(1, 2), [1, 2])
    await first.flush()
    for door in (first, second):
        assert await door.search(floats(1), params=BOUNDED_NOW) == [[1, 2]]


async def refusal(door: Door, vectors: Any = (), params: str = STRONG, **fields: Any) -> tuple[int, str]:
    """Code and reason of a search that is refused."""
    fields = {"collection_name": "words", "topk": 1, **fields}
    pairs = [{"key": "params", "value": params}]
    reply = await door.call("Search", query_record_array=records(vectors), extra_params=pairs, **fields)
    return reply.status.error_code, reply.status.reason


QUICK_TO_GIVE_UP = replace(
    PATIENT,
    search=SearchOptions(deadline_ms=20_000, metadata_wait_ms=200, node_wait_ms=300, graceful_time_ms=600_000),
    write=WriteOptions(wait_ms=300, stall_ms=300, probe_pause_ms=20),
    health=HealthOptions(probe_interval_ms=50, retry_min_ms=20, retry_max_ms=50),
)


async def test_strong_fails_clearly_without_a_writable_node_and_the_other_levels_go_on(tmp_path: Path) -> None:
    async with real_cluster(tmp_path, options=QUICK_TO_GIVE_UP) as cluster:
        await filled(cluster)
        first, _ = cluster.doors
        await first.insert(floats(3), [3])
        cluster.network.kill("writer:1")
        with pytest.raises(MishardsError, match="Search was not done, waited 300 ms"):
            await first.search(floats(3), params=STRONG)
        for level in (SESSION, EVENTUALLY, BOUNDED_NOW):
            assert await first.search(floats(3), params=level) == [[2, 1]]
        cluster.network.heal("writer:1")
        assert await first.search(floats(3), params=STRONG) == [[3, 2, 1]]


async def test_session_does_without_growing_rows_where_the_writable_node_does_not_answer(tmp_path: Path) -> None:
    async with real_cluster(tmp_path, options=QUICK_TO_GIVE_UP) as cluster:
        await filled(cluster)
        first, _ = cluster.doors
        await first.insert(floats(3), [3])
        cluster.network.freeze("writer:1")
        assert await first.search(floats(3), params=SESSION) == [[2, 1]]
        cluster.network.heal("writer:1")
        assert await first.search(floats(3), params=STRONG) == [[3, 2, 1]]


async def test_strong_asks_again_when_the_connection_breaks_for_a_search_changes_nothing(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    broken = NodeUnavailable("writer:1", "it broke", sent=True)
    cluster.network.link("writer:1").faults["Search"] = [broken, broken]
    assert await second.search(floats(3), 1, params=STRONG) == [[3]]


async def test_a_writable_node_that_does_not_do_what_it_said_is_a_fault(cluster: RealCluster) -> None:
    await filled(cluster)
    link = cluster.network.link("writer:1")
    handler = link.handler
    assert handler is not None

    async def deaf(call: Any) -> bytes:
        call.metadata = [pair for pair in call.metadata if pair[0] != GROWING_KEY]
        return await handler(call)

    link.handler = deaf
    assert "without saying what it covers" in (await refusal(cluster.doors[1], floats(1)))[1]


async def test_a_search_that_finds_no_end_of_flushes_has_its_own(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    link = cluster.network.link("writer:1")
    handler = link.handler
    assert handler is not None
    numbers = iter(range(100, 200))

    async def restless(call: Any) -> bytes:
        if GROWING_KEY in dict(call.metadata):  # every look at the growing rows finds that they were flushed meanwhile
            number = next(numbers)
            await first.insert(floats(number), [number])
            await first.flush()
        return await handler(call)

    link.handler = restless
    (found,) = await second.search(floats(1), 100, params=STRONG)
    assert found[:2] == [1, 2]
    assert len(found) == len(set(found)) == 2 + next(numbers) - 100


async def test_rows_that_were_growing_and_are_in_the_newer_snapshot_do_not_come_twice(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3, 4), [3, 4])
    answered = asyncio.Event()
    writer = cluster.network.link("writer:1")
    asked_writer = writer.handler
    assert asked_writer is not None

    async def growing_first(call: Any) -> bytes:
        try:
            return await asked_writer(call)
        finally:
            if GROWING_KEY in dict(call.metadata):
                answered.set()

    writer.handler = growing_first

    def slow(asked: Handler) -> Handler:
        async def merged_meanwhile(call: Any) -> bytes:
            if call.method == "SearchInFiles" and not answered.is_set():
                await answered.wait()
                await first.ok("CreateIndex", collection_name="words", index_type=1)  # flushes, and merges all segments
                for name in ("reader-0", "reader-1"):
                    cluster.nodes[name]._catalog.refreshed()
            return await asked(call)

        return merged_meanwhile

    for name in ("reader-0:1", "reader-1:1"):
        link = cluster.network.link(name)
        assert link.handler is not None
        link.handler = slow(link.handler)
    assert await second.search(floats(1), params=STRONG) == [[1, 2, 3, 4]]
    assert len(cluster.segments()) == 1
    assert cluster.asked_for_growing() == 2
