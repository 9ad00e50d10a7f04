"""Routes that were right when they were planned, and what a search makes of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from mishards.catalog.records import FileRecord, FileType
from mishards.errors import NodeUnavailable
from mishards.query.options import Consistency
from mishards.testing.cluster import QUICK, InProcessCluster, rows_of, running_cluster
from mishards.testing.world import truth
from mishards.wire.extensions import STRICT_FILES
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status

CHANCE = np.random.default_rng(13)

SLOW_REFRESH = replace(
    QUICK,
    metadata=replace(QUICK.metadata, refresh_ms=600_000),
    search=replace(QUICK.search, graceful_time_ms=600_000),
)
"""The router looks at the catalog only when it must."""


def vectors(count: int) -> np.ndarray:
    return CHANCE.standard_normal((count, 4)).astype(np.float32)


def fill(cluster: InProcessCluster, segments: int = 8) -> list[FileRecord]:
    cluster.world.create("words")
    return [cluster.world.add("words", range(s * 10, s * 10 + 10), vectors(10)) for s in range(segments)]


async def assert_right(cluster: InProcessCluster) -> None:
    queries = vectors(2)
    reply = await cluster.search("words", queries, 7)
    assert reply.status.error_code == 0, reply.status.reason
    assert rows_of(reply)[0] == truth(cluster.world, "words", queries, 7)["ids"]


def stale(text: str) -> bytes:
    status = Status(error_code=1, reason=text)  # type: ignore[arg-type]  # the stub wants its own enum
    return pb.TopKQueryResult(status=status).SerializeToString()


async def settled(cluster: InProcessCluster) -> None:
    """The router knows the catalog as it is now."""
    await asyncio.wrap_future(cluster.router.cache.fresh(time.monotonic()))


@pytest.mark.parametrize("merged", [2, 5, 8])
async def test_segments_merged_since_the_snapshot_are_found_where_they_went(merged: int) -> None:
    async with running_cluster(readers=3, options=SLOW_REFRESH) as cluster:
        files = fill(cluster)
        await settled(cluster)
        cluster.world.merge("words", *files[:merged], clean_up=False)
        await assert_right(cluster)


async def test_a_merge_in_the_middle_of_a_search_neither_loses_nor_doubles_rows() -> None:
    async with running_cluster(readers=3, options=SLOW_REFRESH) as cluster:
        files = fill(cluster)
        await settled(cluster)
        cluster.network.link("reader-2:1").slow_s = 0.1
        queries = vectors(2)
        search = asyncio.ensure_future(cluster.search("words", queries, 80))
        await asyncio.sleep(0.03)  # the others have answered by now; were they slower, the test would only be easier
        cluster.world.merge("words", *files, clean_up=False)
        ids, _ = rows_of(await search)
        assert ids == truth(cluster.world, "words", queries, 80)["ids"]


@pytest.mark.parametrize(
    "text", ["Invalid file id", "index is null", "Failed to load index file: DISK2CPU", "Collection words not found"]
)
async def test_every_text_of_a_stale_route_leads_to_a_fresh_snapshot_and_another_try(text: str) -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster)
        await settled(cluster)
        cluster.nodes["reader-1"].replies = [stale(text)]
        reads = cluster.world.reads
        await assert_right(cluster)
        assert cluster.world.reads > reads


async def test_a_node_that_stays_behind_the_catalog_is_replaced_by_one_that_is_not() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster)
        await settled(cluster)
        cluster.nodes["reader-1"].replies = [stale("Invalid file id")] * 1000
        await assert_right(cluster)


async def test_nodes_that_all_stay_behind_fail_the_search_with_what_they_said() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster)
        await settled(cluster)
        for node in cluster.nodes.values():
            node.replies = [stale("Invalid file id")] * 1000
        reply = await cluster.search("words", vectors(1), 3)
        assert reply.status.error_code != 0
        assert "Invalid file id" in reply.status.reason


async def test_a_segment_compacted_to_nothing_is_dropped_from_the_plan() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        files = fill(cluster, segments=4)
        await settled(cluster)
        for file in files[:3]:
            cluster.world.become(file, FileType.TO_DELETE)
        await assert_right(cluster)


@pytest.mark.parametrize("vanished", [1, 3, 6])
async def test_files_that_nodes_pass_over_without_a_word_are_found_where_they_went(
    vanished: int,
) -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        files = fill(cluster, segments=6)
        await settled(cluster)
        cluster.world.merge("words", *files[:vanished], clean_up=True)
        queries = vectors(2)
        ids, _ = rows_of(await cluster.search("words", queries, 60))
        assert ids == truth(cluster.world, "words", queries, 60)["ids"]


async def test_nodes_that_refuse_unknown_files_cost_no_second_look_at_the_catalog() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster)
        await settled(cluster)
        for node in cluster.router.fleet:
            node.capabilities = frozenset({STRICT_FILES})
        reads = cluster.world.reads
        await assert_right(cluster)
        assert cluster.world.reads == reads


async def test_the_second_look_can_be_turned_off() -> None:
    options = replace(SLOW_REFRESH, search=replace(SLOW_REFRESH.search, verify=False))
    async with running_cluster(readers=2, options=options) as cluster:
        fill(cluster)
        await settled(cluster)
        reads = cluster.world.reads
        await assert_right(cluster)
        assert cluster.world.reads == reads


async def test_a_collection_dropped_since_the_snapshot_is_not_found() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster)
        await settled(cluster)
        cluster.world.drop("words")
        reply = await cluster.search("words", vectors(1), 3)
        assert reply.status.error_code == 4


async def test_a_collection_or_partition_made_elsewhere_is_found_at_once() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        await settled(cluster)
        fill(cluster, segments=2)
        await assert_right(cluster)
        cluster.world.add(cluster.world.partition("words", "p"), [77], vectors(1))
        reply = await cluster.search("words", vectors(1), 3, ["p"])
        assert rows_of(reply)[0] == [[77]]


async def test_what_was_written_through_this_router_is_seen_by_its_next_search() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster, segments=2)
        await settled(cluster)
        cluster.world.add("words", [999], vectors(1))
        await cluster.call("Flush", pb.FlushParam(collection_name_array=["words"]))
        await assert_right(cluster)


async def test_eventually_uses_the_snapshot_at_hand_and_bounded_one_that_is_new_enough() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster, segments=2)
        await settled(cluster)
        query = vectors(1)
        before = truth(cluster.world, "words", query, 100)["ids"]
        cluster.world.add("words", [999], vectors(1))
        eventually = rows_of(await cluster.search("words", query, 100, params='{"consistency_level": "Eventually"}'))
        assert eventually[0] == before
        bounded = '{"consistency_level": "Bounded", "graceful_time_ms": 0}'
        assert rows_of(await cluster.search("words", query, 100, params=bounded))[0] != before


async def test_strong_flushes_first() -> None:
    async with running_cluster(readers=2, options=SLOW_REFRESH) as cluster:
        fill(cluster, segments=2)
        await settled(cluster)
        await cluster.search("words", vectors(1), 3, params='{"consistency_level": "Strong"}')
        assert [address for address, _ in cluster.network.calls("Flush")] == ["writer:1"]


async def test_strong_fails_where_it_cannot_be_had() -> None:
    async with running_cluster(readers=2, writer=False) as cluster:
        fill(cluster, segments=2)
        await cluster.snapshot_newer()
        with pytest.raises(NodeUnavailable, match="no writable node is known"):
            await cluster.search("words", vectors(1), 3, params='{"consistency_level": "Strong"}')


async def test_the_default_level_is_a_setting() -> None:
    options = replace(SLOW_REFRESH, search=replace(SLOW_REFRESH.search, consistency=Consistency.STRONG))
    async with running_cluster(readers=2, options=options) as cluster:
        fill(cluster, segments=2)
        await settled(cluster)
        cluster.world.add("words", [999], vectors(1))
        await assert_right(cluster)


async def test_a_database_that_is_away_changes_no_answer() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        cluster.world.away = True
        for _ in range(5):
            await assert_right(cluster)
        await cluster.call("Flush", pb.FlushParam(collection_name_array=["words"]))
        await assert_right(cluster)
        assert not cluster.router.readiness.problems()
        assert any("catalog is away" in warning for warning in cluster.router.readiness.warnings())
        cluster.world.away = False
        cluster.world.add("words", [5000], vectors(1))
        await cluster.snapshot_newer()
        await assert_right(cluster)
