"""Deletes, through a router before nodes that do not look for them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from mishards.catalog.records import FileRecord, FileType
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import NodeFault, NodeUnavailable
from mishards.testing.cluster import InProcessCluster, rows_of, running_cluster
from mishards.testing.world import truth
from mishards.wire.extensions import REVISION

CHANCE = np.random.default_rng(29)


async def filled(cluster: InProcessCluster) -> list[FileRecord]:
    """Six segments, loaded by the nodes that hold them."""
    cluster.world.create("words")
    rows = CHANCE.standard_normal((60, 4)).astype(np.float32)
    files = [cluster.world.add("words", range(n * 10, n * 10 + 10), rows[n * 10 : n * 10 + 10]) for n in range(6)]
    await cluster.snapshot_newer()
    await assert_right(cluster)
    return files


async def assert_right(cluster: InProcessCluster) -> None:
    queries = CHANCE.standard_normal((2, 4)).astype(np.float32)
    reply = await cluster.search("words", queries, 60)
    assert reply.status.error_code == 0, reply.status.reason
    assert rows_of(reply)[0] == truth(cluster.world, "words", queries, 60)["ids"]


async def test_a_deleted_row_is_not_found_on_a_node_that_had_it_loaded() -> None:
    async with running_cluster(readers=3) as cluster:
        files = await filled(cluster)
        cluster.world.delete(files[0], 3, 4)
        await cluster.snapshot_newer()
        await assert_right(cluster)


async def test_each_node_is_told_once_of_each_delete_and_never_of_segments_without() -> None:
    async with running_cluster(readers=2) as cluster:
        files = await filled(cluster)
        assert cluster.received("ReloadSegments") == []
        for deleted in (3, 4):
            cluster.world.delete(files[0], deleted)
            await cluster.snapshot_newer()
            for _ in range(3):
                await assert_right(cluster)
        assert len(cluster.received("ReloadSegments")) == 2


async def test_searches_at_the_same_time_wait_for_one_reload() -> None:
    async with running_cluster(readers=1) as cluster:
        files = await filled(cluster)
        cluster.world.delete(files[0], 3)
        await cluster.snapshot_newer()
        cluster.network.link("reader-1:1").slow_s = 0.02
        await asyncio.gather(*(assert_right(cluster) for _ in range(5)))
        assert len(cluster.received("ReloadSegments")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        NodeFault("reader-1:1", "no"),
        NodeUnavailable("reader-1:1", "gone"),
        NodeUnavailable("reader-1:1", "refused", sent=False),
    ],
)
async def test_a_node_that_cannot_be_told_is_not_searched_until_it_can(fault: NodeFault | NodeUnavailable) -> None:
    async with running_cluster(readers=2) as cluster:
        files = await filled(cluster)
        for file in files:
            cluster.world.delete(file, file.id, *range(60)[:3])
        await cluster.snapshot_newer()
        cluster.network.link("reader-1:1").faults = {"ReloadSegments": [fault]}
        for _ in range(3):
            await assert_right(cluster)


async def test_a_router_that_restarted_tells_the_nodes_anew() -> None:
    async with running_cluster(readers=2) as cluster:
        files = await filled(cluster)
        cluster.world.delete(files[0], 3)  # nobody has been told yet when the router goes
        nodes, world = cluster.nodes, cluster.world
        async with running_cluster(readers=0, writer=False) as second:
            second.world.__dict__.update(world.__dict__)
            for name in ("reader-1", "reader-2"):
                second.nodes[name] = nodes[name]
                second.network.bind(f"{name}:1", nodes[name])
                second.backend.put(NodeRecord(name, NodeRole.READONLY, f"{name}:1"))
            await second.snapshot_newer()
            await assert_right(second)


async def test_an_indexed_segment_is_reloaded_too() -> None:
    async with running_cluster(readers=2) as cluster:
        files = await filled(cluster)
        cluster.world.become(files[0], FileType.BACKUP)
        index = cluster.world.add_file("words", files[0].segment_id, FileType.INDEX)
        cluster.world.files[index.id] = replace(index, file_size=12345)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        assert cluster.received("ReloadSegments") == []
        cluster.world.delete(files[0], 3)
        await cluster.snapshot_newer()
        await assert_right(cluster)


async def test_nodes_that_look_for_deletes_themselves_and_the_writable_one_are_not_told() -> None:
    async with running_cluster(readers=1) as cluster:
        files = await filled(cluster)
        for node in cluster.router.fleet:
            node.capabilities = frozenset({REVISION})
        cluster.world.delete(files[0], 3)
        await cluster.snapshot_newer()
        await cluster.search("words", np.zeros((1, 4), np.float32), 3)
        assert cluster.received("ReloadSegments") == []
        revisions = [dict(call.metadata).get("mishards-revision") for _, call in cluster.received("SearchInFiles")]
        assert revisions[-1] is not None
