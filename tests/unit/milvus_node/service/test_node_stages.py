"""The stages of a call on a node, as spans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

pytest.importorskip("opentracing", reason="no tracing plugin is installed")

from opentracing import Format
from opentracing.mocktracer import MockTracer

from harness.node_rpc import Rpc, floats, ok, search_param
from milvus_node.assembly import Node
from milvus_node.config import NodeOptions, StorageOptions
from milvus_node.roles import Role
from milvus_node.service.stages import staged
from mishards.tracing.api import Span, SpanCounts, Tracer
from mishards.tracing.handler import CallTracer
from mishards.wire.protos import milvus_pb2 as pb

SEARCH, INSERT = ("/milvus.grpc.MilvusService/" + method for method in ("Search", "Insert"))


class MockTracing:
    """Keeps every span; all are sampled."""

    counts = SpanCounts()

    def __init__(self) -> None:
        self.mock = MockTracer()

    @property
    def tracer(self) -> Tracer:
        return cast("Tracer", self.mock)

    def trace_id(self, span: Span) -> str:
        return "1"

    def close(self, timeout_s: float) -> None:
        """Nothing is open."""

    def names(self, of: str) -> list[str]:
        """The spans below the last span of this name, in the order in which they began."""
        spans = self.mock.finished_spans()
        root = [span for span in spans if span.operation_name == of][-1]
        below = [span for span in spans if span.parent_id == root.context.span_id]
        return [span.operation_name for span in sorted(below, key=lambda span: (span.start_time, span.context.span_id))]

    def last(self, name: str) -> dict[str, object]:
        """The tags of the last span of this name."""
        found: dict[str, object] = [s for s in self.mock.finished_spans() if s.operation_name == name][-1].tags
        return found


@pytest.fixture
def tracing() -> MockTracing:
    return MockTracing()


@pytest.fixture
def traced(rpc: Rpc, tracing: MockTracing) -> Rpc:
    """The writable node, traced."""
    rpc._serve = CallTracer(tracing).around(staged(rpc._serve))  # type: ignore[assignment]  # a handler all the same
    return rpc


@pytest.fixture
def reader(storage: StorageOptions, loop: asyncio.AbstractEventLoop, tracing: MockTracing) -> Iterator[Rpc]:
    """A read-only node on the same folder, traced, with one thread for searches."""
    node = Node(NodeOptions(storage=storage, role=Role.READONLY))
    made = Rpc(node, loop)
    made._serve = CallTracer(tracing).around(staged(made._serve))  # type: ignore[assignment]  # a handler all the same
    yield made
    node.close()


def test_a_search_shows_where_its_time_went(rpc: Rpc, reader: Rpc, tracing: MockTracing) -> None:
    rpc.create()
    rpc.insert(floats(1, 2, 3))
    ok(reader.search(floats(1)))
    assert tracing.names(SEARCH) == ["queue_wait", "check", "batch_wait", "search", "encode"]
    assert tracing.names("search") == ["load"]
    assert {"batch": 1, "segments": 1, "loads": 1}.items() <= tracing.last("search").items()
    assert tracing.last("load")["rows"] == 3
    root = tracing.last(SEARCH)
    assert {"collection": "words", "nq": 1, "topk": 3, "segments": 1, "code": 0}.items() <= root.items()
    ok(reader.search(floats(1)))
    assert tracing.names("search") == []  # in memory now


def test_searches_done_together_each_have_the_spans(rpc: Rpc, reader: Rpc, tracing: MockTracing) -> None:
    rpc.create()
    rpc.insert(floats(1, 2, 3))

    async def together() -> None:
        request = search_param(floats(1))
        await asyncio.gather(*(reader.begin("Search", request) for _ in range(20)))

    reader._loop.run_until_complete(together())
    spans = tracing.mock.finished_spans()
    roots = {span.context.span_id for span in spans if span.operation_name == SEARCH}
    assert len(roots) == 20
    for name in ("queue_wait", "check", "batch_wait", "search", "encode"):
        assert {span.parent_id for span in spans if span.operation_name == name} == roots
    batches = sum(1 / span.tags["batch"] for span in spans if span.operation_name == "search")
    assert batches == pytest.approx(round(batches))


def test_a_search_that_fails_is_an_error_of_its_stage(
    rpc: Rpc, reader: Rpc, tracing: MockTracing, storage: StorageOptions
) -> None:
    rpc.create()
    rpc.insert(floats(1, 2, 3))
    for file in storage.path.rglob("*.rv"):
        file.write_bytes(b"rubbish")
    assert reader.search(floats(1)).status.error_code
    assert tracing.names(SEARCH) == ["queue_wait", "check", "batch_wait", "search"]
    assert tracing.last("search")["error"] is True
    assert tracing.last(SEARCH)["error"] is True


def test_other_calls_wait_and_work(traced: Rpc, tracing: MockTracing) -> None:
    traced.create()
    traced.insert(floats(1))
    assert tracing.names(INSERT) == ["queue_wait", "work"]


def test_a_refused_write_is_an_error(rpc: Rpc, reader: Rpc, tracing: MockTracing) -> None:
    rpc.create()
    reader.Insert(collection_name="words")
    assert tracing.last(INSERT)["error"] is True


def test_the_spans_belong_to_the_routers(rpc: Rpc, reader: Rpc, tracing: MockTracing) -> None:
    rpc.create()
    parent, headers = tracing.mock.start_span("search_reader"), {}
    tracing.mock.inject(parent.context, Format.HTTP_HEADERS, headers)
    reader.call("Search", search_param(floats(1)), list(headers.items()))
    reader.call("Cmd", pb.Command(cmd="status"))  # a probe
    (root,) = [span for span in tracing.mock.finished_spans() if span.operation_name.startswith("/")]
    assert (root.parent_id, root.operation_name) == (parent.context.span_id, SEARCH)


def test_without_a_tracer_nothing_is_measured(rpc: Rpc, tracing: MockTracing) -> None:
    rpc._serve = staged(rpc._serve)  # type: ignore[assignment]  # a handler all the same
    rpc.create()
    rpc.insert(floats(1))
    ok(rpc.search(floats(1)))
    assert tracing.mock.finished_spans() == []
