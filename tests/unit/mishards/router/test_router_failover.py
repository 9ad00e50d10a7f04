from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from mishards.cluster.health import HealthState
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import MishardsError, NodeFault, NodeOverloaded, NodeTimeout, NodeUnavailable
from mishards.testing.cluster import QUICK, InProcessCluster, rows_of, running_cluster, search_param
from mishards.testing.waiting import eventually_async
from mishards.testing.world import truth
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status

CHANCE = np.random.default_rng(11)


def vectors(count: int) -> np.ndarray:
    return CHANCE.standard_normal((count, 4)).astype(np.float32)


async def filled(cluster: InProcessCluster, segments: int = 8) -> None:
    cluster.world.create("words")
    for segment in range(segments):
        cluster.world.add("words", range(segment * 10, segment * 10 + 10), vectors(10))
    await cluster.snapshot_newer()


async def assert_right(cluster: InProcessCluster) -> None:
    queries = vectors(2)
    reply = await cluster.search("words", queries, 7)
    assert reply.status.error_code == 0, reply.status.reason
    assert rows_of(reply)[0] == truth(cluster.world, "words", queries, 7)["ids"]


def failed(text: str, code: int = 1) -> bytes:
    return pb.TopKQueryResult(status=Status(error_code=code, reason=text)).SerializeToString()  # type: ignore[arg-type]  # the stub wants its enum


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_killed_node_costs_no_search(replicas: int) -> None:
    async with running_cluster(readers=3, replicas=replicas) as cluster:
        await filled(cluster)
        await assert_right(cluster)
        cluster.network.kill("reader-2:1")
        for _ in range(5):
            await assert_right(cluster)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_node_killed_while_it_searches_costs_no_search(replicas: int) -> None:
    async with running_cluster(readers=3, replicas=replicas) as cluster:
        await filled(cluster)
        cluster.network.link("reader-2:1").slow_s = 0.2
        searches = [asyncio.ensure_future(assert_right(cluster)) for _ in range(4)]
        await eventually_async(lambda: "reader-2" in cluster.searched())
        cluster.network.kill("reader-2:1")
        await asyncio.gather(*searches)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_frozen_node_costs_no_search_and_is_passed_over_afterwards(replicas: int) -> None:
    async with running_cluster(readers=3, replicas=replicas) as cluster:
        await filled(cluster)
        cluster.network.freeze("reader-2:1")
        await assert_right(cluster)
        await eventually_async(lambda: not cluster.router.fleet.get("reader-2").usable)  # type: ignore[union-attr]  # it is there
        cluster.forget_calls()
        await assert_right(cluster)
        assert "reader-2" not in cluster.searched()


async def test_a_slow_node_that_lives_is_waited_for() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for name in ("reader-1", "reader-2"):
            node = cluster.network.link(f"{name}:1")
            node.slow_s = 0.03  # as long as the router's patience: probes answer just in time
        await assert_right(cluster)
        assert all(len(calls) == 1 for calls in cluster.searched().values())


@pytest.mark.parametrize(
    "fault",
    [
        NodeFault("reader-1:1", "INTERNAL: it is broken"),
        NodeOverloaded("reader-1:1", "too many calls"),
        NodeUnavailable("reader-1:1", "the connection broke"),
        NodeUnavailable("reader-1:1", "refused", sent=False),
    ],
)
async def test_a_node_that_fails_a_call_is_replaced_within_the_search(fault: MishardsError) -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.network.link("reader-1:1").faults = {"SearchInFiles": [fault]}
        await assert_right(cluster)


@pytest.mark.parametrize("code", [1, 15, 16, 24])
async def test_a_node_that_answers_an_error_of_its_own_is_replaced_within_the_search(code: int) -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.nodes["reader-1"].replies = [failed("disk is on fire", code)]
        await assert_right(cluster)


async def test_a_node_that_keeps_failing_is_not_asked_first_any_more() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.nodes["reader-1"].replies = [failed("disk is on fire")] * 1000
        for _ in range(3):
            await assert_right(cluster)
        node = cluster.router.fleet.get("reader-1")
        assert node is not None
        assert node.health.trips >= 1


@pytest.mark.parametrize("reply", [b"\xff\xff", b"\x0a\x05abc"])
async def test_a_node_that_answers_garbage_is_replaced_within_the_search(reply: bytes) -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.nodes["reader-1"].replies = [reply]
        await assert_right(cluster)


async def test_with_every_reader_dead_the_writable_node_searches() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.network.kill("reader-1:1")
        cluster.network.kill("reader-2:1")
        await assert_right(cluster)
        assert set(cluster.searched()) == {"writer"}


async def test_with_every_node_dead_a_search_fails_clearly_and_in_time() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            cluster.network.kill(f"{name}:1")
        reply = await asyncio.wait_for(cluster.search("words", vectors(1), 3), 5)
        assert reply.status.error_code == 2
        assert "failed to connect" in reply.status.reason
        assert not reply.ids


async def test_a_search_waits_a_while_for_a_node_to_come_back() -> None:
    async with running_cluster(readers=1, writer=False) as cluster:
        await filled(cluster)
        cluster.network.kill("reader-1:1")
        search = asyncio.ensure_future(assert_right(cluster))
        await eventually_async(lambda: not cluster.router.fleet.can_search())
        cluster.network.heal("reader-1:1")
        await search


async def test_when_every_node_finds_the_same_fault_the_client_gets_the_nodes_own_words() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for node in cluster.nodes.values():
            node.replies = [failed("out of memory", 24)] * 20
        reply = await cluster.search("words", vectors(1), 3)
        assert (reply.status.error_code, reply.status.reason) == (24, "out of memory")


async def test_a_refusal_is_not_tried_elsewhere() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for node in cluster.nodes.values():
            node.replies = [failed("Invalid nprobe value", 5)]
        reply = await cluster.search("words", vectors(1), 3)
        assert (reply.status.error_code, reply.status.reason) == (5, "Invalid nprobe value")
        assert sum(len(calls) for calls in cluster.searched().values()) <= 2


async def test_the_clients_deadline_bounds_the_search() -> None:
    async with running_cluster(readers=2, writer=False) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            cluster.network.link(f"{name}:1").slow_s = 30
        with pytest.raises(NodeTimeout):
            await cluster.call("Search", search_param("words", vectors(1), 3), timeout_s=0.1)


async def test_a_client_that_goes_away_ends_the_calls_to_the_nodes() -> None:
    async with running_cluster(readers=2, writer=False) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            cluster.network.link(f"{name}:1").slow_s = 30
        search = asyncio.ensure_future(cluster.search("words", vectors(1), 3))
        fleet = cluster.router.fleet
        await eventually_async(lambda: all(node.outstanding for node in fleet))
        search.cancel()
        await eventually_async(lambda: not any(node.outstanding for node in fleet))


async def test_a_failure_spreads_a_nodes_segments_over_the_others() -> None:
    options = replace(QUICK, routing=replace(QUICK.routing, spares=2))
    async with running_cluster(readers=4, options=options) as cluster:
        await filled(cluster, segments=40)
        cluster.network.kill("reader-1:1")
        await assert_right(cluster)
        cluster.forget_calls()
        await assert_right(cluster)
        counts = {name: sum(map(len, calls)) for name, calls in cluster.searched().items()}
        assert set(counts) == {"reader-2", "reader-3", "reader-4"}
        assert max(counts.values()) <= 20


async def test_a_node_that_comes_back_gets_its_own_segments_again() -> None:
    async with running_cluster(readers=3) as cluster:
        await filled(cluster)
        await assert_right(cluster)
        before = cluster.searched()
        cluster.network.kill("reader-2:1")
        await assert_right(cluster)
        cluster.network.heal("reader-2:1")
        node = cluster.router.fleet.get("reader-2")
        assert node is not None
        await eventually_async(lambda: node.health.state is HealthState.UP)
        cluster.forget_calls()
        await assert_right(cluster)
        assert cluster.searched() == before


async def test_a_node_that_vanishes_from_discovery_keeps_its_place_and_is_not_asked() -> None:
    async with running_cluster(readers=3) as cluster:
        await filled(cluster)
        await assert_right(cluster)
        before = cluster.searched()
        cluster.backend.remove("reader-2")
        cluster.forget_calls()
        await assert_right(cluster)
        after = cluster.searched()
        assert "reader-2" not in after
        for name in ("reader-1", "reader-3"):
            assert set(before[name][0]) <= set(after[name][0])


async def test_a_node_that_restarts_at_another_address_is_found_there() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.network.kill("reader-2:1")
        cluster.network.bind("elsewhere:9", cluster.nodes["reader-2"])
        cluster.backend.put(NodeRecord("reader-2", NodeRole.READONLY, "elsewhere:9"))
        await eventually_async(lambda: cluster.router.fleet.get("reader-2").health.state is HealthState.UP)  # type: ignore[union-attr]  # it is there
        await assert_right(cluster)
        assert cluster.network.link("elsewhere:9").calls


async def test_losing_discovery_changes_no_answer() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        cluster.backend.lose()
        await assert_right(cluster)
        assert not cluster.router.readiness.problems()
        assert any("discovery is lost" in warning for warning in cluster.router.readiness.warnings())


async def test_with_two_replicas_no_search_of_many_fails_whatever_single_reader_dies() -> None:
    async with running_cluster(readers=3, replicas=2) as cluster:
        await filled(cluster, segments=12)
        done = 0

        async def client() -> None:
            nonlocal done
            for _ in range(20):
                await assert_right(cluster)
                done += 1

        clients = [asyncio.ensure_future(client()) for _ in range(3)]
        for name in ("reader-1", "reader-2", "reader-3"):
            goal = done + 10
            await eventually_async(lambda goal=goal: done >= min(goal, 55))
            cluster.network.kill(f"{name}:1")
            goal = done + 5
            await eventually_async(lambda goal=goal: done >= min(goal, 58))
            cluster.network.heal(f"{name}:1")
        await asyncio.gather(*clients)
        assert done == 60


async def test_a_call_with_no_time_left_is_not_sent() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        with pytest.raises(NodeTimeout):
            await cluster.call("Search", search_param("words", vectors(1), 1), timeout_s=0)
        assert not cluster.searched()


PARTIAL = replace(QUICK, search=replace(QUICK.search, partial=True), routing=replace(QUICK.routing, spares=0))


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_partial_result_is_given_only_where_it_is_wanted_and_says_so(wanted: bool) -> None:
    options = PARTIAL if wanted else replace(PARTIAL, search=replace(PARTIAL.search, partial=False))
    async with running_cluster(readers=2, writer=False, options=options) as cluster:
        await filled(cluster)
        cluster.nodes["reader-1"].replies = [failed("disk is on fire", 16)] * 1000
        # The other reader answers for its own segments, and fails when it is asked for those of the first.
        cluster.network.link("reader-2:1").faults = {"SearchInFiles": [None, *[NodeFault("reader-2:1", "no")] * 1000]}
        queries = vectors(1)
        reply = await cluster.search("words", queries, 80)
        ids = rows_of(reply)[0]
        if wanted:
            missing = 8 - len(ids[0]) // 10
            assert 0 < missing < 8
            assert reply.status.reason == f"partial: {missing} of 8 segments could not be searched"
            assert reply.status.error_code == 0
        else:
            assert (ids, reply.status.error_code) == ([], 2)


async def test_a_partial_result_without_anything_is_a_failure() -> None:
    async with running_cluster(readers=2, writer=False, options=PARTIAL) as cluster:
        await filled(cluster)
        for node in cluster.nodes.values():
            node.replies = [failed("disk is on fire")] * 1000
        with pytest.raises(NodeUnavailable, match="no node answered for any of 8 segments"):
            await cluster.search("words", vectors(1), 7)
