"""Tracing ``jaeger``: spans as datagrams to a Jaeger agent, by jaeger-client.

Features: context of others ``uber-trace-id``; samplers ``const``, ``probabilistic``, ``rate_limiting``; counts what was
dropped. That a datagram arrived nobody knows: an agent that is away loses spans without a count.

Address form: ``HOST:PORT`` of the agent's port for jaeger.thrift over compact thrift; ``127.0.0.1:6831`` if empty. A
name is looked up for every datagram, on the sending thread.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from jaeger_client.codecs import TextCodec
from jaeger_client.local_agent_net import LocalAgentSender
from jaeger_client.metrics.metrics import Metrics, MetricsFactory
from jaeger_client.reporter import Reporter
from jaeger_client.sampler import ConstSampler, ProbabilisticSampler, RateLimitingSampler
from jaeger_client.sampler import Sampler as JaegerSampler
from jaeger_client.span_context import SpanContext
from jaeger_client.tracer import Tracer
from jaeger_client.utils import ErrorReporter
from opentracing import Format, SpanContextCorruptedException
from tornado.ioloop import IOLoop

from mishards.errors import PluginError
from mishards.tracing.api import Span, SpanCounts, Tracing
from mishards.tracing.api import Tracer as TracerProtocol
from mishards.tracing.options import Sampler, TracingOptions

log = logging.getLogger(__name__)

_DEFAULT_AGENT = "127.0.0.1:6831"
_SAMPLING_PORT = 5778
_BATCH = 10
"""Spans a datagram, which must hold them all."""


class JaegerTracing:
    """A tracer that owns the thread on which its reporter runs."""

    def __init__(self, options: TracingOptions) -> None:
        """Open the socket; nothing is sent yet. Raises PluginError."""
        host, port = _address(options.endpoint or _DEFAULT_AGENT)
        self._counters = _Counters()
        self._loop = _ReporterLoop()
        self._sender = LocalAgentSender(host, _SAMPLING_PORT, port, io_loop=self._loop.io_loop)
        reporter = Reporter(
            self._sender,
            queue_capacity=options.queue_size,
            batch_size=min(_BATCH, options.queue_size),
            flush_interval=options.flush_interval_ms / 1000,
            metrics_factory=self._counters,
            error_reporter=ErrorReporter(Metrics(), log, log_interval_minutes=1),
        )
        self._tracer = Tracer(
            options.service_name,
            reporter,
            _sampler(options),
            metrics_factory=self._counters,
            tags={"ip": _own_address(host, port)},
            extra_codecs={Format.HTTP_HEADERS: _StrictCodec(url_encoding=True)},
        )
        self._closed = False

    @property
    def tracer(self) -> TracerProtocol:
        return cast("TracerProtocol", self._tracer)

    @property
    def counts(self) -> SpanCounts:
        return self._counters.spans

    def trace_id(self, span: Span) -> str:
        made = cast("Any", span)
        return f"{made.trace_id:x}" if made.is_sampled() else ""

    def close(self, timeout_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.run(self._tracer.close, timeout_s)
        self._loop.stop(timeout_s)
        self._sender.close()


class _ReporterLoop:
    """The loop of the reporter, on a thread of its own."""

    def __init__(self) -> None:
        self.io_loop = IOLoop(make_current=False)
        self._thread = threading.Thread(target=self._run, name="jaeger-reporter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.io_loop.start()
        self.io_loop.close()

    def run(self, work: Callable[[], Any], timeout_s: float) -> None:
        """Run asynchronous work on the loop and wait for its end, at most so long."""
        done = threading.Event()

        async def working() -> None:
            await work()
            done.set()

        self.io_loop.add_callback(working)
        done.wait(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self.io_loop.add_callback(self.io_loop.stop)
        self._thread.join(timeout_s)


class _Counters(MetricsFactory):
    """Counts what the reporter does with spans; on its thread alone, so without a lock."""

    def __init__(self) -> None:
        self._results = {"ok": 0, "err": 0, "dropped": 0}

    @property
    def spans(self) -> SpanCounts:
        """The counts so far."""
        results = self._results
        return SpanCounts(sent=results["ok"], failed=results["err"], dropped=results["dropped"])

    def create_counter(self, name: str, tags: Mapping[str, str] | None = None) -> Callable[[int], None]:
        result = (tags or {}).get("result", "")
        if name != "jaeger:reporter_spans" or result not in self._results:
            return _ignore

        def count(number: int) -> None:
            self._results[result] += number

        return count


def _ignore(number: int) -> None:
    """Count nothing."""


class _StrictCodec(TextCodec):
    """Takes from clients a context whose numbers fit the wire format, and no baggage: that would become metadata."""

    def extract(self, carrier: Mapping[str, str]) -> SpanContext | None:
        header = next((value for key, value in carrier.items() if key.lower() == self.trace_id_header), None)
        found = super().extract({self.trace_id_header: header}) if header is not None else None
        if found is None:
            return None
        sizes = (found.trace_id >> 128, found.span_id >> 64, (found.parent_id or 0) >> 64, found.flags >> 8)
        if any(sizes):
            raise SpanContextCorruptedException(f"trace context {str(header)[:100]!r}: a number is too large")
        return cast("SpanContext", found)


def _address(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port and parts.netloc == text:
            return parts.hostname, parts.port
    except ValueError:
        pass  # a port that is no number
    raise PluginError(f"tracing endpoint {text!r} is no HOST:PORT of a Jaeger agent, such as {_DEFAULT_AGENT}")


def _own_address(host: str, port: int) -> str:
    """The address from which datagrams to the agent leave; connecting a datagram socket sends nothing."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            address: str = probe.getsockname()[0]
    except OSError:
        return ""
    return address


def _sampler(options: TracingOptions) -> JaegerSampler:
    if options.sampler is Sampler.CONST:
        return ConstSampler(decision=bool(options.sampler_param))
    if options.sampler is Sampler.PROBABILISTIC:
        return ProbabilisticSampler(rate=options.sampler_param)
    return RateLimitingSampler(max_traces_per_second=options.sampler_param)


class JaegerPlugin:
    """The entry point's object."""

    def tracing(self, options: TracingOptions) -> Tracing:
        """A new tracer with its thread."""
        return JaegerTracing(options)


plugin = JaegerPlugin()
