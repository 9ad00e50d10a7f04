"""What every tracing must do; subclass and say how yours is made, and what receives its spans.

Needs ``opentracing``, which every tracing plugin brings.
"""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import opentracing
import pytest

from mishards.testing.waiting import eventually
from mishards.tracing.api import FORMAT, Span, Tracer, Tracing, Value
from mishards.tracing.options import TracingOptions

WAIT_S = 30.0
_CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it left the process. Ids are numbers without a sign; ``parent`` is 0 for the first of a trace."""

    service: str
    name: str
    trace: int
    id: int
    parent: int
    tags: Mapping[str, Value]
    logs: tuple[Mapping[str, Value], ...]
    begin_us: int
    """In microseconds since 1970."""
    duration_us: int


class TracingBackend(ABC):
    """Where spans arrive."""

    @abstractmethod
    def tracing(self, **options: object) -> Tracing:
        """A tracing that sends here every 20 ms; ``options`` are those of ``TracingOptions`` to be other than usual."""

    @abstractmethod
    def received(self) -> list[ReceivedSpan]:
        """Every span that has arrived so far."""

    @abstractmethod
    def held(self, tracing: Tracing) -> AbstractContextManager[object]:
        """Let no span of a tracing leave its queue while a block lasts, beyond those that are on their way."""

    @abstractmethod
    def lose(self) -> None:
        """Listen no more."""

    def options(self, endpoint: str, given: Mapping[str, object]) -> TracingOptions:
        """Options that send to an address, quickly."""
        settings: dict[str, object] = {
            "plugin": "under test",
            "service_name": "suite",
            "endpoint": endpoint,
            "flush_interval_ms": 20,
        }
        return TracingOptions(**{**settings, **given})  # type: ignore[arg-type]  # the fields' types, by name

    def wait_for(self, count: int) -> dict[str, ReceivedSpan]:
        """The spans by name, once so many have arrived."""
        eventually(lambda: len(self.received()) >= count, WAIT_S)
        return {span.name: span for span in self.received()}


class TracingSuite:
    """The clauses of ``Tracing``; the fixture ``backend`` gives what receives its spans."""

    malformed: Mapping[str, list[str]] = {
        "uber-trace-id": [
            *("", "x", "1:2", "0:0:0:0", "1:2:0:1:5", "g:2:0:1", "-1:2:0:1", "1:2:0:ffff"),
            *(f"1:{'f' * 40}:0:1", f"{'f' * 40}:1:0:1"),
        ],
        "traceparent": ["", "00-1-2-01", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"],
    }
    """What clients may send instead of a context, by header."""

    @pytest.fixture
    def backend(self) -> TracingBackend:
        """Override: what receives the spans."""
        raise NotImplementedError

    def test_the_tracer_is_one_of_opentracing(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            assert isinstance(tracing.tracer, opentracing.Tracer)

    def test_a_tree_arrives_as_it_was(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            root = begun(tracing.tracer, "root", tags={"text": "grün", "number": 2**40, "share": 0.5, "yes": True})
            child = begun(tracing.tracer, "child", root)
            child.set_tag("error", value=True)
            child.log_kv({"event": "error", "message": "the node is gone"})
            child.finish()
            root.finish()
            found = backend.wait_for(2)
            assert found["root"].service == "suite"
            assert f"{found['root'].trace:x}" == tracing.trace_id(root).lstrip("0")
        assert (found["root"].parent, found["child"].parent) == (0, found["root"].id)
        assert found["child"].trace == found["root"].trace
        wanted = {"text": "grün", "number": 2**40, "share": 0.5, "yes": True}
        assert {key: found["root"].tags[key] for key in wanted} == wanted
        assert found["child"].tags["error"] is True
        assert len(found["child"].logs) == 1
        assert dict(found["child"].logs[0]) == {"event": "error", "message": "the node is gone"}

    def test_times_that_are_given_arrive(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            span = tracing.tracer.start_span("past", start_time=1_700_000_000.25, ignore_active_span=True)
            span.finish(1_700_000_001.5)
            found = backend.wait_for(1)["past"]
        assert abs(found.begin_us - 1_700_000_000_250_000) <= 1
        assert abs(found.duration_us - 1_250_000) <= 1

    def test_a_context_goes_on_in_another_process(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as here, closing(backend.tracing(service_name="there")) as there:
            root = begun(here.tracer, "root")
            headers = injected(root)
            assert all(key == key.lower() and value.isascii() for key, value in headers.items())
            begun(there.tracer, "child", there.tracer.extract(FORMAT, headers)).finish()
            root.finish()
            found = backend.wait_for(2)
        assert found["child"].parent == found["root"].id
        assert found["child"].trace == found["root"].trace
        assert found["child"].service == "there"

    def test_a_malformed_context_is_none(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            for header, texts in self.malformed.items():
                for text in texts:
                    assert extracted(tracing.tracer, {header: text}) is None, (header, text)
            assert extracted(tracing.tracer, {}) is None

    def test_baggage_of_a_client_goes_no_further(self, backend: TracingBackend) -> None:
        baggage = {"uberctx-a": "b", "jaeger-baggage": "c d=e", "baggage": "f=g"}
        with closing(backend.tracing()) as tracing:
            plain = injected(begun(tracing.tracer, "first"))
            for headers in (baggage, {**plain, **baggage}):
                child = begun(tracing.tracer, "child", extracted(tracing.tracer, headers))
                assert injected(child).keys() == plain.keys()

    def test_what_is_not_sampled_is_never_sent_and_says_so_to_others(self, backend: TracingBackend) -> None:
        with closing(backend.tracing(sampler_param=0.0)) as here, closing(backend.tracing()) as there:
            root = begun(here.tracer, "unsampled")
            child = begun(here.tracer, "unsampled child", root)
            remote = begun(there.tracer, "unsampled elsewhere", there.tracer.extract(FORMAT, injected(child)))
            assert [here.trace_id(root), here.trace_id(child), there.trace_id(remote)] == ["", "", ""]
            for span in (remote, child, root, begun(there.tracer, "sampled")):
                span.finish()
            assert list(backend.wait_for(1)) == ["sampled"]
        assert [span.name for span in backend.received()] == ["sampled"]

    def test_a_sampled_client_is_followed_whatever_the_sampler_says(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as client, closing(backend.tracing(sampler_param=0.0)) as server:
            root = begun(client.tracer, "client")
            begun(server.tracer, "server", server.tracer.extract(FORMAT, injected(root))).finish()
            root.finish()
            assert backend.wait_for(2).keys() == {"client", "server"}

    def test_too_many_spans_are_dropped_and_every_one_is_counted(self, backend: TracingBackend) -> None:
        tracing = backend.tracing(queue_size=10)
        with closing(tracing):
            begun(tracing.tracer, "first").finish()
            backend.wait_for(1)
            with backend.held(tracing):
                for _ in range(500):
                    begun(tracing.tracer, "many").finish()
        counts = tracing.counts
        assert counts.dropped >= 400
        assert counts.sent + counts.failed + counts.dropped == 501

    def test_nobody_listening_changes_nothing(self, backend: TracingBackend) -> None:
        tracing = backend.tracing()
        backend.lose()
        for _ in range(50):
            begun(tracing.tracer, "lost").finish()
        tracing.close(1)
        counts = tracing.counts
        assert counts.sent + counts.failed + counts.dropped == 50

    def test_closing_sends_what_waits_and_leaves_no_thread(self, backend: TracingBackend) -> None:
        before = set(threading.enumerate())
        tracing = backend.tracing(flush_interval_ms=60_000)
        mine = set(threading.enumerate()) - before
        assert mine
        for number in range(5):
            begun(tracing.tracer, f"span {number}").finish()
        tracing.close(_CLOSE_S)
        tracing.close(_CLOSE_S)
        assert len(backend.wait_for(5)) == 5
        assert tracing.counts.sent == 5
        eventually(lambda: not any(thread.is_alive() for thread in mine), WAIT_S)


@contextmanager
def closing(tracing: Tracing) -> Iterator[Tracing]:
    """Close a tracing after a block."""
    try:
        yield tracing
    finally:
        tracing.close(_CLOSE_S)


def begun(tracer: Tracer, name: str, parent: object = None, tags: dict[str, Value] | None = None) -> Span:
    """A span that has begun."""
    return tracer.start_span(name, child_of=parent, tags=tags, ignore_active_span=True)


def injected(span: Span) -> dict[str, str]:
    """The headers that carry a span's context."""
    headers: dict[str, str] = {}
    span.tracer.inject(span.context, FORMAT, headers)
    return headers


def extracted(tracer: Tracer, headers: Mapping[str, str]) -> object:
    """The context in headers; None where it cannot be understood."""
    try:
        return tracer.extract(FORMAT, headers)
    except opentracing.SpanContextCorruptedException:
        return None
