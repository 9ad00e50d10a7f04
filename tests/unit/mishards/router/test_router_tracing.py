from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jaeger_client", reason="the extra jaeger is not installed")
pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")

from harness.span_receivers import JaegerAgent
from mishards.config import RouterOptions
from mishards.errors import MishardsError, NodeUnavailable
from mishards.query.hedge import HedgeOptions
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster, search_param
from mishards.testing.tracing import ReceivedSpan
from mishards.testing.waiting import eventually_async
from mishards.tracing.options import TracingOptions
from mishards.tracing.select import call_tracer_for
from mishards.transport.api import Metadata
from mishards.wire.protos import milvus_pb2 as pb

CALM = replace(
    QUICK,
    search=replace(QUICK.search, deadline_ms=60_000, metadata_wait_ms=30_000),
    health=replace(QUICK.health, probe_interval_ms=600_000, probe_timeout_ms=30_000, patience_ms=60_000),
)
"""Settings under which no node is taken for dead, however busy the machine is."""

QUERIES = np.ones((2, 4), np.float32)
CLIENT = ("uber-trace-id", "abc123:77:0:1")
SEARCH = "/milvus.grpc.MilvusService/Search"


@pytest.fixture
def agent() -> Iterator[JaegerAgent]:
    made = JaegerAgent()
    yield made
    made.close()


@asynccontextmanager
async def traced(
    agent: JaegerAgent, sampler_param: float = 1.0, options: RouterOptions = CALM, replicas: int = 1
) -> AsyncIterator[InProcessCluster]:
    """A router that traces, before two nodes with a segment each, at least."""
    tracing = TracingOptions("jaeger", "", agent.endpoint, sampler_param=sampler_param, flush_interval_ms=10)
    tracer = call_tracer_for(tracing, "mishards")
    async with running_cluster(options=options, replicas=replicas, tracer=tracer) as cluster:
        await eventually_async(lambda: not any(node.probing for node in cluster.router.fleet), 30)
        cluster.world.create("words")
        for segment in range(8):
            cluster.world.add("words", [segment], np.ones((1, 4), np.float32))
        await cluster.snapshot_newer()
        yield cluster


async def arrived(agent: JaegerAgent, root: str) -> list[ReceivedSpan]:
    """The spans of the one trace whose root has this name, which is sent last but for calls that were given up."""
    found: list[ReceivedSpan] = []

    def complete() -> bool:
        found[:] = agent.received()
        ids = {span.id for span in found}
        return any(span.name == root for span in found) and all(span.parent in ids | {0, 0x77} for span in found)

    await eventually_async(complete, 30)
    return found


def one(found: list[ReceivedSpan], name: str) -> ReceivedSpan:
    matching = [span for span in found if span.name == name]
    assert len(matching) == 1, (name, [span.name for span in found])
    return matching[0]


async def search(cluster: InProcessCluster, *metadata: tuple[str, str]) -> pb.TopKQueryResult:
    reply = await cluster.call("Search", search_param("words", QUERIES, 3), timeout_s=60, metadata=metadata)
    assert isinstance(reply, pb.TopKQueryResult)
    return reply


def sent_contexts(cluster: InProcessCluster, method: str = "SearchInFiles") -> list[Metadata]:
    return [
        [(key, value) for key, value in call.metadata if key in ("uber-trace-id", "traceparent")]
        for _, call in cluster.received(method)
    ]


async def test_a_search_is_a_tree_of_its_stages_and_nodes(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        await search(cluster, ("request_id", "r-1"))
        found = await arrived(agent, SEARCH)
        root, routing, asking, merging = (one(found, n) for n in (SEARCH, "get_routing", "do_search", "do_merge"))
        assert {span.parent for span in (routing, asking, merging)} == {root.id}
        assert {span.trace for span in found} == {root.trace}
        assert (root.parent, root.service) == (0, "mishards")
        calls = [one(found, f"search_reader-{number}") for number in (1, 2)]
        assert {span.parent for span in calls} == {asking.id}
        nodes = {span.tags["node"]: span for span in calls}
        for name, call in cluster.received("SearchInFiles"):
            span = nodes[name]
            assert dict(call.metadata)["uber-trace-id"] == f"{span.trace:x}:{span.id:x}:{asking.id:x}:1"
        expected = {"component": "grpc", "span.kind": "server", "collection": "words", "nq": 2, "topk": 3, "code": 0}
        assert expected.items() <= root.tags.items()
        assert (root.tags["segments"], root.tags["nodes"], root.tags["attempts"]) == (8, 2, 2)
        assert root.tags["request_id"] == "r-1"
        assert {"snapshot_version", "snapshot_age_ms", "segments", "rows", "metric"} <= routing.tags.keys()
        assert sum(int(span.tags["files"]) for span in calls) == 8
        assert {(span.tags["status"], span.tags["hedge"]) for span in calls} == {("ok", False)}
        assert merging.tags["replies"] == 2


async def test_the_trace_of_a_client_goes_on_and_its_id_is_noted(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        await search(cluster, CLIENT)
        root = one(await arrived(agent, SEARCH), SEARCH)
        assert (root.trace, root.parent) == (0xABC123, 0x77)
        assert cluster.router.slow.slowest(0)[0].trace_id == "abc123"


@pytest.mark.parametrize("header", ["rubbish", "1:2:3", "", f"{'f' * 99}:1:0:1"])
async def test_a_context_that_is_none_is_ignored(agent: JaegerAgent, header: str) -> None:
    async with traced(agent) as cluster:
        assert not (await search(cluster, ("uber-trace-id", header))).status.error_code
        found = await arrived(agent, SEARCH)
        assert one(found, SEARCH).parent == 0
        for context in sent_contexts(cluster):
            assert [f"{one(found, SEARCH).trace:x}"] == [value.split(":")[0] for _, value in context]


async def test_a_node_that_fails_is_an_error_and_the_next_attempt_a_span(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        cluster.network.link("reader-1:1").faults["SearchInFiles"] = [NodeUnavailable("reader-1:1", "it is gone")]
        assert not (await search(cluster)).status.error_code
        found = await arrived(agent, SEARCH)
        broken = one(found, "search_reader-1")
        assert (broken.tags["error"], broken.tags["status"]) == (True, "NodeUnavailable")
        assert broken.logs[0]["event"] == "error"
        assert "it is gone" in str(broken.logs[0]["error.object"])
        others = [span for span in found if span.name == "search_reader-2"]
        assert sorted(int(span.tags["attempt"]) for span in (*others, broken)) == [1, 2, 3]
        assert {span.parent for span in (*others, broken)} == {one(found, "do_search").id}
        assert one(found, SEARCH).tags["failovers"] == 1
        outcomes = sorted(call.outcome for call in cluster.router.slow.slowest(0)[0].node_calls)
        assert outcomes == ["NodeUnavailable", "ok", "ok"]


async def test_a_refused_search_is_an_error(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        reply = await cluster.call("Search", search_param("nothing", QUERIES, 3))
        assert isinstance(reply, pb.TopKQueryResult)
        found = await arrived(agent, SEARCH)
        root = one(found, SEARCH)
        assert (root.tags["error"], root.tags["code"]) == (True, reply.status.error_code)
        assert root.logs[0]["message"] == reply.status.reason
        assert one(found, "get_routing").tags["error"] is True
        assert one(found, "load_metadata").parent == one(found, "get_routing").id


async def test_a_hedge_is_a_span_and_the_one_that_was_given_up_too(agent: JaegerAgent) -> None:
    options = replace(CALM, search=replace(CALM.search, hedge=HedgeOptions(enabled=True, budget=1.0)))
    async with traced(agent, options=options, replicas=2) as cluster:
        for _ in range(40):
            await search(cluster)
        for name in ("reader-1:1", "reader-2:1"):
            cluster.network.freeze(name)
        slow = asyncio.ensure_future(search(cluster, CLIENT))
        await eventually_async(lambda: hedged(cluster), 30)
        for name in ("reader-1:1", "reader-2:1"):
            cluster.network.heal(name)
        assert not (await slow).status.error_code
        await eventually_async(lambda: any(span.parent == 0x77 for span in agent.received()), 30)
        mine = [span for span in agent.received() if span.trace == 0xABC123 and span.name.startswith("search_")]
        assert any(span.tags["hedge"] for span in mine)
        assert "abandoned" in {span.tags["status"] for span in mine}


def hedged(cluster: InProcessCluster) -> bool:
    """Has any node been asked twice in the client's trace: for its own part, and besides the other?"""
    mine = [context[0][1].startswith("abc123:") for context in sent_contexts(cluster)]
    return sum(mine) > 2


async def test_a_write_is_a_root_with_the_call_of_the_writer(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        await cluster.call("Insert", pb.InsertParam(collection_name="words"))
        found = await arrived(agent, "/milvus.grpc.MilvusService/Insert")
        root, forward = one(found, "/milvus.grpc.MilvusService/Insert"), one(found, "forward_Insert")
        assert forward.parent == root.id
        assert {"node": "writer", "role": "writer", "status": 0}.items() <= forward.tags.items()
        assert [f"{forward.id:x}"] == [context[0][1].split(":")[1] for context in sent_contexts(cluster, "Insert")]


async def test_calls_that_any_node_answers_or_all_get_are_traced_too(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        with pytest.raises(MishardsError):  # the double of a node has no such call
            await cluster.call("GetVectorsByID", pb.VectorsIdentity(collection_name="words"))
        found = await arrived(agent, "/milvus.grpc.MilvusService/GetVectorsByID")
        assert one(found, "/milvus.grpc.MilvusService/GetVectorsByID").tags["error"] is True
        assert one(found, "ask_writer").tags["error"] is True
        await cluster.call("PreloadCollection", pb.PreloadCollectionParam(collection_name="words"))
        found = await arrived(agent, "/milvus.grpc.MilvusService/PreloadCollection")
        root = one(found, "/milvus.grpc.MilvusService/PreloadCollection")
        assert {span.parent for span in found if span.name.startswith("ask_reader")} == {root.id}


async def test_probes_are_traced_in_the_callers_trace_only(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        await cluster.call("Cmd", pb.Command(cmd="version"))
        await cluster.call("Cmd", pb.Command(cmd="status"), metadata=[CLIENT])
        found = await arrived(agent, "/milvus.grpc.MilvusService/Cmd")
        assert [span.parent for span in found] == [0x77]


async def test_what_is_not_sampled_makes_no_span_and_tells_the_nodes(agent: JaegerAgent) -> None:
    async with traced(agent, sampler_param=0.0) as cluster:
        await search(cluster)
        assert [value.rpartition(":")[2] for context in sent_contexts(cluster) for _, value in context] == ["0", "0"]
        await search(cluster, CLIENT)
        found = await arrived(agent, SEARCH)
        assert {span.trace for span in found} == {0xABC123}


async def test_without_tracing_the_context_of_a_client_is_passed_on_as_it_is(agent: JaegerAgent) -> None:
    async with running_cluster() as cluster:
        cluster.world.create("words")
        cluster.world.add("words", [1], np.ones((1, 4), np.float32))
        await cluster.snapshot_newer()
        await search(cluster, CLIENT)
        assert sent_contexts(cluster) == [[CLIENT]]
        assert agent.received() == []


async def test_an_agent_that_is_gone_changes_no_answer(agent: JaegerAgent) -> None:
    async with traced(agent) as cluster:
        before = await search(cluster)
        agent.close()
        for _ in range(20):
            assert await search(cluster) == before
