"""The otlp plugin, against a collector that decodes OTLP's protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otlp is not installed")
pytest.importorskip("jaeger_client", reason="the extra jaeger is not installed")

from opentracing import UnsupportedFormatException

from harness.span_receivers import OtlpCollector
from mishards.errors import PluginError
from mishards.testing.tracing import ReceivedSpan, TracingBackend, TracingSuite, begun, closing, injected
from mishards.tracing.api import FORMAT, Tracing
from mishards.tracing.options import Sampler, TracingOptions
from mishards_plugins.tracing.otlp import plugin


class Collector(TracingBackend):
    def __init__(self) -> None:
        self._collector = OtlpCollector()

    def tracing(self, **options: object) -> Tracing:
        return plugin.tracing(self.options(self._collector.endpoint, options))

    def received(self) -> list[ReceivedSpan]:
        return self._collector.received()

    @contextmanager
    def held(self, tracing: Tracing) -> Iterator[None]:
        self._collector.open.clear()
        yield
        self._collector.open.set()

    def lose(self) -> None:
        self._collector.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.lose()


class TestOtlp(TracingSuite):
    @pytest.fixture
    def backend(self, collector: Collector) -> TracingBackend:
        return collector

    def test_an_error_is_the_status_of_the_span(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            for name, wrong in (("good", False), ("bad", True)):
                begun(tracing.tracer, name).set_tag("error", value=wrong).finish()
            found = backend.wait_for(2)
        assert (found["good"].tags["otlp.status"], found["bad"].tags["otlp.status"]) == (0, 2)

    def test_both_ways_of_writing_a_context_are_passed_on_and_understood(self, backend: TracingBackend) -> None:
        with closing(backend.tracing()) as tracing:
            headers = injected(begun(tracing.tracer, "root"))
            assert headers.keys() == {"traceparent", "uber-trace-id"}
            parents = [tracing.tracer.extract(FORMAT, {key: value}) for key, value in headers.items()]
            ids = [tracing.trace_id(begun(tracing.tracer, "child", parent)) for parent in parents]
        assert ids[0] == ids[1] == headers["traceparent"].split("-")[1]


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://localhost:4317", "http:///v1/traces"])
def test_an_endpoint_that_is_no_collector_is_refused(endpoint: str) -> None:
    with pytest.raises(PluginError, match="no URL of an OTLP collector"):
        plugin.tracing(TracingOptions("otlp", "s", endpoint))


def test_a_sampler_that_the_library_lacks_is_refused() -> None:
    with pytest.raises(PluginError, match="no sampler rate_limiting; it has const and probabilistic"):
        plugin.tracing(TracingOptions("otlp", "s", sampler=Sampler.RATE_LIMITING))


def test_a_share_of_calls_is_sampled(collector: Collector) -> None:
    with closing(collector.tracing(sampler=Sampler.PROBABILISTIC, sampler_param=0.5)) as tracing:
        sampled = [tracing.trace_id(begun(tracing.tracer, "call")) != "" for _ in range(200)]
    assert 0 < sum(sampled) < 200


def test_a_format_that_no_header_has_is_refused(collector: Collector) -> None:
    with closing(collector.tracing()) as tracing, pytest.raises(UnsupportedFormatException):
        tracing.tracer.extract("binary", {})
