"""What a router says of itself, and that several of them say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from mishards.assembly import Edges, Router
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import CollectionNotFound, PartitionError
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster
from mishards.testing.memory_discovery import MemoryBackend
from mishards.testing.waiting import eventually_async

CHANCE = np.random.default_rng(23)


async def filled(cluster: InProcessCluster) -> None:
    cluster.world.create("words")
    for table in ["words"] * 6 + [cluster.world.partition("words", "p1")]:
        cluster.world.add(table, range(5), CHANCE.standard_normal((5, 4)).astype(np.float32))
    await cluster.snapshot_newer()


async def explained(router: Router, tags: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    plan = await router.explainer.explain("words", tags, Deadline.after(5))
    return cast("list[dict[str, Any]]", plan["segments"])


async def test_the_plan_names_for_each_segment_the_node_that_a_search_then_asks() -> None:
    async with running_cluster(readers=3, replicas=2) as cluster:
        await filled(cluster)
        segments = await explained(cluster.router)
        await cluster.search("words", np.zeros((1, 4), np.float32), 3)
        asked = {int(file): name for name, calls in cluster.searched().items() for ids in calls for file in ids}
        assert {segment["file_id"]: segment["asked"] for segment in segments} == asked
        for segment in segments:
            assert segment["asked"] in segment["nodes"]
            assert len(set(segment["nodes"] + segment["spares"])) == 3


async def test_the_plan_of_a_partition_has_its_segments_only() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        assert [(s["partition"], s["rows"]) for s in await explained(cluster.router, ("p1",))] == [("p1", 5)]


async def test_a_dead_node_keeps_its_segments_in_the_plan_and_is_not_asked() -> None:
    async with running_cluster(readers=3) as cluster:
        await filled(cluster)
        before = {segment["segment_id"]: segment["nodes"] for segment in await explained(cluster.router)}
        cluster.network.kill("reader-1:1")
        await eventually_async(lambda: cluster.health_reason("reader-1"))
        after = await explained(cluster.router)
        assert {segment["segment_id"]: segment["nodes"] for segment in after} == before
        assert "reader-1" not in {segment["asked"] for segment in after}


async def test_with_no_node_at_all_a_plan_asks_nobody() -> None:
    async with running_cluster(readers=0, writer=False) as cluster:
        await filled(cluster)
        assert {segment["asked"] for segment in await explained(cluster.router)} == {None}


async def test_what_is_not_there_cannot_be_explained() -> None:
    async with running_cluster(readers=1) as cluster:
        with pytest.raises(CollectionNotFound):
            await explained(cluster.router)
        await filled(cluster)
        with pytest.raises(PartitionError):
            await explained(cluster.router, ("absent",))


async def test_the_status_names_nodes_tasks_health_and_the_snapshot() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.backend.remove("reader-2")
        await eventually_async(lambda: "reader-2" in cluster.router.fleet.membership.absent)
        status = cluster.router.explainer.status()
        nodes = {node["name"]: node for node in cast("list[dict[str, Any]]", status["nodes"])}
        assert (status["writer"], status["searchers"]) == ("writer", ["reader-1", "reader-2"])
        assert {name: node["state"] for name, node in nodes.items()} == {
            "reader-1": "ready",
            "reader-2": "absent",
            "writer": "ready",
        }
        assert nodes["reader-1"]["version"] == "1.1.0"
        catalog = cast("dict[str, Any]", status["catalog"])
        assert catalog["collections"] == 1
        assert catalog["error"] is None


async def test_routers_that_never_spoke_place_alike_whatever_order_they_learnt_of_the_nodes_in() -> None:
    async with running_cluster(readers=4, replicas=2) as cluster:
        await filled(cluster)
        backend = MemoryBackend()
        options = replace(cluster.options, network=replace(QUICK.network, address="router:2"))
        other = Router(
            options,
            Edges(
                cluster.network,
                cluster.world.read,
                backend.discovery(),
                lambda: None,
                cluster.world.record_replicas,
                cluster.world.record_drain,
            ),
        )
        await other.start()
        for name in reversed(list(cluster.nodes)):
            role = NodeRole.WRITABLE if name == "writer" else NodeRole.READONLY
            backend.put(NodeRecord(name, role, f"{name}:1"))
        await eventually_async(lambda: len(other.fleet.membership.searchers) == 4)
        ours = [(s["segment_id"], s["nodes"], s["spares"]) for s in await explained(cluster.router)]
        theirs = [(s["segment_id"], s["nodes"], s["spares"]) for s in await explained(other)]
        assert theirs == ours
        await other.stop()


async def test_why_a_router_is_not_ready_is_said_in_words() -> None:
    async with running_cluster(readers=0, writer=False) as cluster:
        (problem,) = cluster.router.readiness.problems()
        assert problem == "no node that can search has answered; discovery knows none"
        cluster.backend.put(NodeRecord("r", NodeRole.READONLY, "nowhere:1"))
        await eventually_async(lambda: "failed to connect" in cluster.router.readiness.problems()[0])
        assert "no writable node is known" in cluster.router.readiness.warnings()
