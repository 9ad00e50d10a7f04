"""Tracing ``otlp``: spans over HTTP to an OpenTelemetry collector, by the OpenTelemetry SDK under its OpenTracing shim.

Features: context of others ``traceparent``, and ``uber-trace-id`` where there is none; both are passed on; samplers
``const``, ``probabilistic``; counts what was dropped, and what the collector did not take.

Address form: the URL of the collector, ``http://127.0.0.1:4318/v1/traces`` if empty; without a path it is that one.
Headers, compression and certificates are taken from the library's own variables, ``OTEL_EXPORTER_OTLP_HEADERS`` and so
on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.trace.sampling import Sampler as OtelSampler
from opentelemetry.shim.opentracing_shim import SpanContextShim, SpanShim, TracerShim
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentracing import Format, UnsupportedFormatException

from mishards.errors import PluginError
from mishards.tracing.api import Span, SpanCounts, Tracer, Tracing
from mishards.tracing.options import Sampler, TracingOptions

_DEFAULT_URL = "http://127.0.0.1:4318"
_PATH = "/v1/traces"
_BATCH = 512
_EXPORT_TIMEOUT_S = 5
"""Of one request, repetitions included."""

_UBER_KEY = "uber-trace-id"
_UBER = re.compile(r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:([0-9a-f]{1,2})", re.IGNORECASE)
"""https://www.jaegertracing.io/docs/latest/client-libraries/#propagation-format."""


class OtlpTracing:
    """A tracer with a queue of our own bound, and the library's thread that empties it."""

    def __init__(self, options: TracingOptions) -> None:
        """Nothing is sent yet. Raises PluginError."""
        exporter = OTLPSpanExporter(_url(options.endpoint), timeout=_EXPORT_TIMEOUT_S)
        self._queue = _Queue(exporter, options)
        self._provider = TracerProvider(
            sampler=_sampler(options),
            resource=Resource.create({SERVICE_NAME: options.service_name}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._queue)
        self._tracer = _HeaderTracer(self._provider.get_tracer("mishards"))
        self._closed = False

    @property
    def tracer(self) -> Tracer:
        return cast("Tracer", self._tracer)

    @property
    def counts(self) -> SpanCounts:
        return self._queue.counts

    def trace_id(self, span: Span) -> str:
        context = cast("Any", span).unwrap().get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else ""

    def close(self, timeout_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        impatience = threading.Timer(timeout_s, self._queue.exporter.shutdown)
        impatience.start()
        try:
            self._provider.shutdown()
        finally:
            impatience.cancel()
            impatience.join()


class _CountingExporter(SpanExporter):
    """Counts what the exporter behind it does. Called on one thread."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._closed = threading.Lock()
        self.sent = self.failed = 0
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        if self._closed.acquire(blocking=False):  # once: the library complains about a second time
            self._exporter.shutdown()


class _Queue(BatchSpanProcessor):
    """Drops and counts what is too much, before the library would drop it in silence."""

    def __init__(self, exporter: OTLPSpanExporter, options: TracingOptions) -> None:
        self.exporter = _CountingExporter(exporter)
        self._limit = options.queue_size
        self._lock = threading.Lock()
        self._accepted = self._dropped = 0
        batch = min(_BATCH, options.queue_size)
        super().__init__(
            self.exporter,
            max_queue_size=options.queue_size + batch,
            schedule_delay_millis=options.flush_interval_ms,
            max_export_batch_size=batch,
        )

    @property
    def counts(self) -> SpanCounts:
        """The counts so far."""
        return SpanCounts(self.exporter.sent, self.exporter.failed, self._dropped)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            if self._accepted - self.exporter.taken >= self._limit:
                self._dropped += 1
                return
            self._accepted += 1
        super().on_end(span)


class _ErrorSpan(SpanShim):
    """The shim's span; the tag ``error`` is the span's status too, as OpenTelemetry has it."""

    def set_tag(self, key: str, value: Any) -> SpanShim:
        if key == "error" and value is True:
            self.unwrap().set_status(trace.StatusCode.ERROR)
        return super().set_tag(key, value)


class _HeaderTracer(TracerShim):
    """The shim's tracer, with headers of its own instead of those that are set for the whole process."""

    _headers = TraceContextTextMapPropagator()

    def start_span(self, *arguments: Any, **named: Any) -> SpanShim:
        span = super().start_span(*arguments, **named)
        return _ErrorSpan(self, span.context, span.unwrap())

    def inject(self, span_context: Any, format: object, carrier: Any) -> None:
        _check_format(format)
        context = span_context.unwrap()
        self._headers.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(context)))
        carrier[_UBER_KEY] = f"{context.trace_id:x}:{context.span_id:x}:0:{context.trace_flags & 1:x}"

    def extract(self, format: object, carrier: Any) -> SpanContextShim | None:
        _check_format(format)
        found = trace.get_current_span(self._headers.extract(carrier)).get_span_context()
        if not found.is_valid:
            found = _uber_context(carrier.get(_UBER_KEY, ""))
        return SpanContextShim(found) if found.is_valid else None


def _check_format(format: object) -> None:
    if format not in (Format.HTTP_HEADERS, Format.TEXT_MAP):
        raise UnsupportedFormatException(format)


def _uber_context(header: str) -> trace.SpanContext:
    found = _UBER.fullmatch(header)
    if found is None:
        return trace.INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = (int(number, 16) for number in found.groups())
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags & 1))


def _url(text: str) -> str:
    parts = urlsplit(text or _DEFAULT_URL)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise PluginError(f"tracing endpoint {text!r} is no URL of an OTLP collector, such as {_DEFAULT_URL}{_PATH}")
    return parts.geturl() if parts.path.strip("/") else parts._replace(path=_PATH).geturl()


def _sampler(options: TracingOptions) -> OtelSampler:
    if options.sampler is Sampler.CONST:
        return ParentBased(ALWAYS_ON if options.sampler_param else ALWAYS_OFF)
    if options.sampler is Sampler.PROBABILISTIC:
        return ParentBased(TraceIdRatioBased(options.sampler_param))
    raise PluginError(f"tracing otlp has no sampler {options.sampler.value}; it has const and probabilistic")


class OtlpPlugin:
    """The entry point's object."""

    def tracing(self, options: TracingOptions) -> Tracing:
        """A new tracer with its thread."""
        return OtlpTracing(options)


plugin = OtlpPlugin()
