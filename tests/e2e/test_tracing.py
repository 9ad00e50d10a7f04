"""What a router and its nodes, all of them processes, really send to a Jaeger agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("jaeger_client", reason="the extra jaeger is not installed")
pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")

from harness.fleet import BASE, NAME, QUERIES, Fleet
from harness.rpc import Rpc, params, records
from harness.span_receivers import JaegerAgent
from harness.waiting import eventually
from mishards.testing.tracing import ReceivedSpan
from mishards.wire.protos import milvus_pb2 as pb

SERVICE = "/milvus.grpc.MilvusService/"
CLIENT_SPAN = 0x77
NODE_STAGES = {"queue_wait", "check", "batch_wait", "search", "encode"}


@pytest.fixture(scope="module")
def agent() -> Iterator[JaegerAgent]:
    made = JaegerAgent()
    yield made
    made.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, agent: JaegerAgent) -> Iterator[Fleet]:
    """Two read-only nodes, a writable one and a router that trace, with segments on both."""
    with pytest.MonkeyPatch.context() as environment:
        for program in ("MISHARDS", "MILVUS_NODE"):
            environment.setenv(f"{program}_TRACING_PLUGIN", "jaeger")
            environment.setenv(f"{program}_TRACING_ENDPOINT", agent.endpoint)
            environment.setenv(f"{program}_TRACING_FLUSH_INTERVAL_MS", "50")
        with Fleet(tmp_path_factory.mktemp("traced"), "ours") as started:
            started.fill()
            yield started


def ask(fleet: Fleet, method: str, message: Any, trace: int) -> Any:
    """Call the router within a trace of the client's."""
    context = ("uber-trace-id", f"{trace:x}:{CLIENT_SPAN:x}:0:1")
    with Rpc(fleet.router.address) as rpc:
        reply = rpc.raw(method, message.SerializeToString(), metadata=[context])
    kinds = {"Search": pb.TopKQueryResult, "Insert": pb.VectorIds}
    return kinds[method].FromString(reply)


def search() -> Any:
    return pb.SearchParam(collection_name=NAME, query_record_array=records(QUERIES), topk=5, extra_params=params())


def traced(agent: JaegerAgent, trace: int, roots: int = 1) -> list[ReceivedSpan]:
    """The client's trace, once every span's parent and so many roots have arrived."""
    found: list[ReceivedSpan] = []

    def complete() -> bool:
        found[:] = [span for span in agent.received() if span.trace == trace]
        ids = {span.id for span in found} | {CLIENT_SPAN}
        calls = {span.id for span in found if span.name.startswith(("search_", "forward_"))}
        served = {span.parent for span in found if span.service == "milvus-node"}
        whole = all(span.parent in ids for span in found) and calls <= served
        return whole and sum(span.parent == CLIENT_SPAN for span in found) == roots

    eventually(complete, 30, lambda: f"the trace is whole: {[(s.service, s.name) for s in found]}")
    return found


def below(found: list[ReceivedSpan], parent: ReceivedSpan) -> dict[str, ReceivedSpan]:
    return {span.name: span for span in found if span.parent == parent.id}


def test_a_search_over_two_nodes_is_one_tree(fleet: Fleet, agent: JaegerAgent) -> None:
    reply = ask(fleet, "Search", search(), trace=0xA1)
    assert not reply.status.error_code
    found = traced(agent, 0xA1)
    (root,) = [span for span in found if span.parent == CLIENT_SPAN]
    assert (root.service, root.name) == ("mishards", SERVICE + "Search")
    assert root.tags.items() >= {"collection": NAME, "nq": len(QUERIES), "topk": 5, "segments": 6, "code": 0}.items()
    stages = below(found, root)
    assert stages.keys() == {"get_routing", "search_growing", "do_search", "do_merge"}
    (growing,) = below(found, stages["search_growing"]).values()
    assert (growing.service, growing.name) == ("milvus-node", SERVICE + "Search")
    assert stages["get_routing"].begin_us <= stages["do_search"].begin_us <= stages["do_merge"].begin_us
    calls = below(found, stages["do_search"])
    assert calls.keys() == {f"search_{reader.name}" for reader in fleet.readers}
    assert sum(int(span.tags["files"]) for span in calls.values()) == 6
    for name, call in calls.items():
        assert call.tags["node"] == name.removeprefix("search_")
        assert (call.tags["status"], call.tags["hedge"]) == ("ok", False)
        (served,) = below(found, call).values()
        assert (served.service, served.name) == ("milvus-node", SERVICE + "SearchInFiles")
        assert served.tags["request_id"] == root.tags["request_id"]
        assert served.tags["span.kind"] == "server"
        on_node = below(found, served)
        assert on_node.keys() == NODE_STAGES
        assert int(on_node["search"].tags["segments"]) == int(call.tags["files"])
        assert below(found, on_node["search"]).keys() <= {"load"}


def test_an_insert_shows_the_writers_part(fleet: Fleet, agent: JaegerAgent) -> None:
    rows = pb.InsertParam(collection_name=NAME, row_record_array=records(BASE[:3]), row_id_array=[9001, 9002, 9003])
    assert not ask(fleet, "Insert", rows, trace=0xB2).status.error_code
    refused = ask(fleet, "Insert", pb.InsertParam(collection_name="nothing", row_record_array=records(BASE[:1])), 0xB2)
    assert refused.status.error_code
    found = traced(agent, 0xB2, roots=2)
    roots = sorted((span for span in found if span.parent == CLIENT_SPAN), key=lambda span: span.begin_us)
    for root, code in zip(roots, (0, refused.status.error_code), strict=True):
        assert (root.name, root.tags["code"]) == (SERVICE + "Insert", code)
        (forward,) = below(found, root).values()
        assert (forward.name, forward.tags["role"], forward.tags["status"]) == ("forward_Insert", "writer", code)
        (served,) = below(found, forward).values()
        assert (served.service, served.tags["code"]) == ("milvus-node", code)
        assert [span.tags.get("error", False) for span in (root, served)] == [bool(code)] * 2


def test_answers_do_not_depend_on_the_agent(fleet: Fleet, agent: JaegerAgent) -> None:
    before = ask(fleet, "Search", search(), trace=0xC3)
    agent.close()
    for _ in range(10):
        assert ask(fleet, "Search", search(), trace=0xC3) == before
