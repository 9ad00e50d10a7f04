"""What tracing plugins implement: where spans go.

The tracer itself is an ``opentracing.Tracer``. The protocols here name the part of it that is used, so that neither
this module nor a program that does not trace imports ``opentracing``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mishards.tracing.options import TracingOptions

FORMAT = "http_headers"
"""``opentracing.Format.HTTP_HEADERS``: how a context travels in the metadata of calls."""

Value = str | int | float | bool
"""What a tag or a field of a log may be."""


class Span(Protocol):
    """``opentracing.Span``."""

    @property
    def context(self) -> object:
        """What its children and other processes refer to."""
        ...

    @property
    def tracer(self) -> Tracer:
        """Who made it."""
        ...

    def set_tag(self, key: str, value: Value) -> Span:
        """Say something of the whole span."""
        ...

    def log_kv(self, key_values: Mapping[str, Value], timestamp: float | None = None) -> Span:
        """Say something of a moment."""
        ...

    def finish(self, finish_time: float | None = None) -> None:
        """End it now, or at a time in seconds since 1970; it is sent later."""
        ...


class Tracer(Protocol):
    """``opentracing.Tracer``."""

    def start_span(
        self,
        operation_name: str | None = None,
        child_of: object = None,
        references: object = None,
        tags: dict[str, Value] | None = None,
        start_time: float | None = None,
        ignore_active_span: bool = False,
    ) -> Span:
        """Begin a span; ``child_of`` is a span or the context of one. The tags become the tracer's."""
        ...

    def inject(self, span_context: object, format: str, carrier: dict[str, str]) -> None:
        """Add what another process needs to go on with a trace."""
        ...

    def extract(self, format: str, carrier: Mapping[str, str]) -> object:
        """The context that another process added; None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Finished spans: handed over to where they belong, lost there, and lost because too many waited."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


class Tracing(Protocol):
    """A tracer and the way of its spans out of the process; methods may be called from any thread.

    1. ``tracer`` is an ``opentracing.Tracer``. None of its methods and none of its spans' waits for the network or
       fails because of it; the spans leave on a thread of the plugin's.
    2. A context that is injected is extracted as the same one, by another process too; the keys are lower case.
    3. Of what a client sends only a well-formed context is taken, and no baggage. A malformed one is None, or raises
       ``opentracing.SpanContextCorruptedException``.
    4. A child's trace, parent, tags, logs and times arrive as they were given.
    5. A child is sampled as its parent; what is not sampled is injected as such, and never sent.
    6. At most ``queue_size`` spans wait, and some that are on their way; every other finished span is counted.
    7. ``close`` sends what waits, returns within its time even if nobody listens, and leaves no thread behind.
    """

    @property
    def tracer(self) -> Tracer:
        """The tracer."""
        ...

    @property
    def counts(self) -> SpanCounts:
        """What became of finished spans so far."""
        ...

    def trace_id(self, span: Span) -> str:
        """The id under which people find a span's trace, in hexadecimal; empty if the span is not sampled."""
        ...

    def close(self, timeout_s: float) -> None:
        """Send what waits and end; blocks, at most so long. May be repeated."""
        ...


class TracingPlugin(Protocol):
    """The object that an entry point of the group ``mishards.tracing`` names."""

    def tracing(self, options: TracingOptions) -> Tracing:
        """A tracing with these options; ``service_name`` is given. Raises PluginError when they cannot be used."""
        ...
