from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("opentracing", reason="no tracing plugin is installed")

from opentracing.mocktracer import MockTracer

from mishards.tracing import spans
from mishards.tracing.api import FORMAT


@pytest.fixture
def tracer() -> MockTracer:
    return MockTracer()


def started(tracer: MockTracer, name: str = "root") -> spans.Span:
    found: spans.Span = tracer.start_span(name)
    return found


def parents(tracer: MockTracer) -> dict[str, str]:
    names = {span.context.span_id: span.operation_name for span in tracer.finished_spans()}
    return {span.operation_name: names.get(span.parent_id, "") for span in tracer.finished_spans()}


def test_nothing_happens_where_nothing_is_traced() -> None:
    with spans.within("stage", tag=1) as span:
        assert span is None
        assert spans.active() is None
        assert spans.child("child") is None
        spans.tag(more=2)
    spans.end(None)
    metadata = [("traceparent", "the client's")]
    assert spans.injected(metadata) is metadata


def test_blocks_nest(tracer: MockTracer) -> None:
    root = started(tracer)
    with spans.activated(root, sampled=True):
        with spans.within("outer"), spans.within("inner"):
            spans.end(spans.child("leaf"))
        assert spans.active() is root
    assert spans.active() is None
    root.finish()
    assert parents(tracer) == {"root": "", "outer": "root", "inner": "outer", "leaf": "inner"}


async def test_tasks_that_run_at_once_do_not_take_each_others_span(tracer: MockTracer) -> None:
    gate = asyncio.Event()

    async def one(name: str) -> None:
        with spans.within(name):
            await gate.wait()
            with spans.within(f"in {name}"):
                pass

    root = started(tracer)
    with spans.activated(root, sampled=True):
        tasks = [asyncio.create_task(one(name)) for name in "abc"]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    root.finish()
    assert parents(tracer) == {
        "root": "",
        **dict.fromkeys("abc", "root"),
        **{f"in {name}": name for name in "abc"},
    }


def test_work_is_carried_to_a_thread(tracer: MockTracer) -> None:
    def work(number: int) -> int:
        with spans.within("work"):
            return number + 1

    with ThreadPoolExecutor(1) as pool:
        root = started(tracer)
        with spans.activated(root, sampled=True):
            carried: Callable[[int], int] = spans.carried(work)
        assert pool.submit(carried, 1).result() == 2
        assert pool.submit(spans.active).result() is None
        root.finish()
    assert parents(tracer) == {"root": "", "work": "root"}
    assert spans.carried(work) is work


def test_an_error_that_leaves_a_block_marks_its_span(tracer: MockTracer) -> None:
    with spans.activated(started(tracer), sampled=True), pytest.raises(ValueError, match="7"), spans.within("stage"):
        raise ValueError("7 is wrong")
    (span,) = tracer.finished_spans()
    assert span.tags["error"] is True
    assert span.logs[0].key_values == {
        "event": "error",
        "message": "7 is wrong",
        "error.kind": "ValueError",
        "error.object": "ValueError: 7 is wrong",
    }


def test_long_texts_are_cut(tracer: MockTracer) -> None:
    root = started(tracer)
    with spans.activated(root, sampled=True):
        spans.tag(text="x" * 5000, number=5000)
    spans.fail(root, "y" * 5000, "Kind")
    root.finish()
    (span,) = tracer.finished_spans()
    assert (len(span.tags["text"]), span.tags["number"]) == (1000, 5000)
    assert max(len(str(value)) for value in span.logs[0].key_values.values()) == 1000


def test_a_span_that_is_not_sampled_has_no_children_but_its_context_goes_on(tracer: MockTracer) -> None:
    root = started(tracer)
    with spans.activated(root, sampled=False):
        assert spans.active() is None
        with spans.within("stage") as span:
            assert span is None
            sent = dict(spans.injected([("request_id", "r"), ("uber-trace-id", "the client's")]))
    assert sent.pop("request_id") == "r"
    assert "uber-trace-id" not in sent
    extracted = tracer.extract(FORMAT, sent)
    assert extracted.span_id == root.context.span_id  # type: ignore[attr-defined]  # the mock's
    assert spans.injected(()) == ()
