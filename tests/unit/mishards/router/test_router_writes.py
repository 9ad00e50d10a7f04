"""Writes, admission and the log line, through a whole router."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import Message

from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import (
    NodeFault,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    RpcStatus,
)
from mishards.service.admission import AdmissionOptions
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster, search_param
from mishards.testing.waiting import eventually_async
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(17)

SINGLE_WRITE = replace(QUICK, admission=AdmissionOptions(max_writes=1, max_searches=1))


def vectors(count: int) -> np.ndarray:
    return CHANCE.standard_normal((count, 4)).astype(np.float32)


async def filled(cluster: InProcessCluster) -> None:
    cluster.world.create("words")
    cluster.world.add("words", range(10), vectors(10))
    cluster.world.add("words", range(10, 20), vectors(10))
    await cluster.snapshot_newer()


def ok() -> Message:
    return pb.BoolReply.FromString(b"\x0a\x04\x12\x02OK").status


INSERT = pb.InsertParam(collection_name="words", row_record_array=[pb.RowRecord(float_data=[1, 2, 3, 4])])


async def test_writes_reach_the_writable_node_byte_for_byte_and_no_other() -> None:
    async with running_cluster(readers=2) as cluster:
        raw = INSERT.SerializeToString() + b"\xf2\x3f\x03abc"
        reply = await cluster.call("Insert", raw, metadata=[("request_id", "r-7"), ("secret", "x")])
        assert isinstance(reply, pb.VectorIds)
        assert list(reply.vector_id_array) == [1]
        ((name, call),) = cluster.received("Insert")
        assert (name, call.request, list(call.metadata)) == ("writer", raw, [("request_id", "r-7")])


async def test_a_write_that_may_have_arrived_is_never_repeated() -> None:
    async with running_cluster(readers=2) as cluster:
        link = cluster.network.link("writer:1")
        link.slow_s = 0.1
        insert = asyncio.ensure_future(cluster.call("Insert", INSERT))
        await eventually_async(lambda: cluster.received("Insert"))
        cluster.network.kill("writer:1")
        reply = await insert
        assert isinstance(reply, pb.VectorIds)
        assert reply.status.error_code == 2
        cluster.network.heal("writer:1")
        assert len(cluster.received("Insert")) == 1


async def test_a_write_that_was_never_sent_waits_for_the_writable_node() -> None:
    async with running_cluster(readers=2) as cluster:
        cluster.network.kill("writer:1")
        insert = asyncio.ensure_future(cluster.call("Insert", INSERT))
        await eventually_async(lambda: not cluster.router.fleet.writer.usable)  # type: ignore[union-attr]  # it is a member
        cluster.network.heal("writer:1")
        assert (await insert).status.error_code == 0  # type: ignore[attr-defined]  # a VectorIds
        assert len(cluster.received("Insert")) == 1


async def test_a_write_waits_for_a_writable_node_to_appear_in_discovery() -> None:
    async with running_cluster(readers=2, writer=False) as cluster:
        insert = asyncio.ensure_future(cluster.call("Insert", INSERT))
        await asyncio.sleep(0)
        cluster.add_node("writer", NodeRole.WRITABLE)
        assert (await insert).status.error_code == 0  # type: ignore[attr-defined]  # a VectorIds


async def test_without_a_writable_node_a_write_fails_clearly_after_a_bounded_wait() -> None:
    async with running_cluster(readers=2, writer=False) as cluster:
        with pytest.raises(NodeUnavailable, match="Insert was not done, waited 300 ms: no writable node is known"):
            await cluster.call("Insert", INSERT)


async def test_a_writable_node_that_froze_loses_its_calls() -> None:
    async with running_cluster(readers=2) as cluster:
        cluster.network.freeze("writer:1")
        with pytest.raises(NodeTimeout, match="no sign of life"):
            await cluster.call("Insert", INSERT)


async def test_a_slow_write_is_waited_for_while_the_node_lives() -> None:
    async with running_cluster(readers=2) as cluster:
        cluster.network.link(
            "writer:1"
        ).slow_s = 0.04  # longer than the pause between probes, shorter than a probe's wait
        reply = await cluster.call(
            "CreateCollection", pb.CollectionSchema(collection_name="c", dimension=4, metric_type=1)
        )
        assert reply == ok()


async def test_a_writable_node_that_takes_over_gets_the_writes() -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.backend.remove("writer")
        cluster.add_node("writer-2", NodeRole.WRITABLE)
        await cluster.call("Insert", INSERT)
        assert [name for name, _ in cluster.received("Insert")] == ["writer-2"]


async def test_too_many_writes_are_refused_and_searches_go_on() -> None:
    async with running_cluster(readers=1, options=SINGLE_WRITE) as cluster:
        await filled(cluster)
        cluster.network.link("writer:1").slow_s = 0.2
        first = asyncio.ensure_future(cluster.call("Insert", INSERT))
        await eventually_async(lambda: cluster.received("Insert"))
        with pytest.raises(NodeOverloaded, match="1 calls of class write are under way"):
            await cluster.call("Insert", INSERT)
        assert (await cluster.search("words", vectors(1), 3)).status.error_code == 0
        assert (await first).status.error_code == 0  # type: ignore[attr-defined]  # a VectorIds


async def test_too_many_searches_are_refused_until_one_has_ended() -> None:
    async with running_cluster(readers=1, options=SINGLE_WRITE) as cluster:
        await filled(cluster)
        cluster.network.link("reader-1:1").slow_s = 0.02
        first = asyncio.ensure_future(cluster.search("words", vectors(1), 3))
        await eventually_async(lambda: cluster.searched())
        with pytest.raises(NodeOverloaded):
            await cluster.search("words", vectors(1), 3)
        await first
        assert (await cluster.search("words", vectors(1), 3)).status.error_code == 0


async def test_a_search_that_asks_for_too_many_results_is_refused() -> None:
    options = replace(QUICK, search=replace(QUICK.search, max_results=100))
    async with running_cluster(readers=1, options=options) as cluster:
        await filled(cluster)
        assert (await cluster.search("words", vectors(10), 10)).status.error_code == 0
        with pytest.raises(NodeOverloaded, match="11 query vectors x topk 10 ask for 110 results, the limit is 100"):
            await cluster.search("words", vectors(11), 10)


async def test_a_nodes_verdict_on_a_write_reaches_the_client_as_it_is() -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.network.link("writer:1").faults = {
            "Insert": [
                NodeRejected("writer:1", "no, never", RpcStatus.PERMISSION_DENIED),
                NodeFault("writer:1", "broken"),
            ]
        }
        with pytest.raises(NodeRejected, match="no, never") as caught:
            await cluster.call("Insert", INSERT)
        assert caught.value.status is RpcStatus.PERMISSION_DENIED
        reply = await cluster.call("Insert", INSERT)
        assert isinstance(reply, pb.VectorIds)
        assert reply.status.error_code == 2


async def test_every_call_leaves_one_line_that_says_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mishards.access")
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        await cluster.call("Search", search_param("words", vectors(2), 3), metadata=[("request_id", "abc")])
        await cluster.search("absent", vectors(1), 3)
        lines = [record.getMessage() for record in caplog.records if record.name == "mishards.access"]
        assert len(lines) == 2
        for fact in ("method=Search", "request_id=abc", "collection=words", "nq=2", "topk=3", "segments=2", "code=0"):
            assert fact in lines[0]
        assert "code=4 reason='Collection absent does not exist" in lines[1]


async def test_a_node_of_an_unknown_version_is_not_used() -> None:
    async with running_cluster(readers=1, writer=False) as cluster:
        await filled(cluster)
        node = cluster.add_node("strange")
        node._commands["version"] = "2.0.0"
        cluster.backend.put(NodeRecord("strange", NodeRole.READONLY, "strange:1"))
        await eventually_async(lambda: "2.0.0" in cluster.health_reason("strange"))
        cluster.forget_calls()
        assert (await cluster.search("words", vectors(1), 3)).status.error_code == 0
        assert set(cluster.searched()) == {"reader-1"}
