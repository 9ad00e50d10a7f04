"""The jaeger plugin, against what its datagrams say to jaeger-client's own classes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

pytest.importorskip("jaeger_client", reason="the extra jaeger is not installed")
pytest.importorskip("opentelemetry.proto", reason="the extra otlp is not installed")

from harness.span_receivers import JaegerAgent
from mishards.errors import PluginError
from mishards.testing.tracing import ReceivedSpan, TracingBackend, TracingSuite, begun, closing
from mishards.tracing.api import SpanCounts, Tracing
from mishards.tracing.options import Sampler, TracingOptions
from mishards_plugins.tracing.jaeger import JaegerTracing, plugin


class Agent(TracingBackend):
    def __init__(self) -> None:
        self._agent = JaegerAgent()

    def tracing(self, **options: object) -> Tracing:
        return plugin.tracing(self.options(self._agent.endpoint, options))

    def received(self) -> list[ReceivedSpan]:
        return self._agent.received()

    @contextmanager
    def held(self, tracing: Tracing) -> Iterator[None]:
        go_on = threading.Event()
        cast("JaegerTracing", tracing)._loop.io_loop.add_callback(go_on.wait, 60)
        yield
        go_on.set()

    def lose(self) -> None:
        self._agent.close()


class TestJaeger(TracingSuite):
    @pytest.fixture
    def backend(self) -> Iterator[TracingBackend]:
        agent = Agent()
        yield agent
        agent.lose()


def options(**given: object) -> TracingOptions:
    return TracingOptions(**{"plugin": "jaeger", "service_name": "s", **given})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("endpoint", ["localhost", "localhost:", "localhost:x", "http://localhost:1", "a:1/b", ":1"])
def test_an_endpoint_that_is_no_agent_is_refused(endpoint: str) -> None:
    with pytest.raises(PluginError, match="no HOST:PORT of a Jaeger agent"):
        plugin.tracing(options(endpoint=endpoint))


def test_spans_that_no_datagram_holds_are_counted_as_failed() -> None:
    with closing(plugin.tracing(options(endpoint="127.0.0.1:9"))) as tracing:
        begun(tracing.tracer, "large", tags={f"tag {number}": "x" * 1000 for number in range(100)}).finish()
    assert tracing.counts == SpanCounts(failed=1)


@pytest.mark.parametrize(("sampler", "param"), [(Sampler.PROBABILISTIC, 0.0), (Sampler.RATE_LIMITING, 1.0)])
def test_samplers_choose_calls(sampler: Sampler, param: float) -> None:
    with closing(plugin.tracing(options(sampler=sampler, sampler_param=param))) as tracing:
        sampled = [tracing.trace_id(begun(tracing.tracer, "call")) != "" for _ in range(100)]
    assert not all(sampled)
