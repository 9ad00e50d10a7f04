"""A server's handler, traced: around it, each call has a span.

Imports ``opentracing``; only ``select`` imports this module, and only where calls are traced.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentracing import InvalidCarrierException, SpanContextCorruptedException

from mishards.tracing import spans
from mishards.tracing.api import FORMAT, Span, SpanCounts, Tracing, Value
from mishards.transport.api import SERVICE, Call, Handler
from mishards.wire.replies import METHODS, status_of

_UNTRACED = frozenset({"Cmd"})
"""Methods of probes, which come every second; traced only where the caller's own trace goes on."""

_LONGEST = 1000
"""Characters of a tag."""


class CallTracer:
    """Gives calls spans. Safe from any thread."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @property
    def counts(self) -> SpanCounts:
        """What became of finished spans so far."""
        return self._tracing.counts

    def close(self, timeout_s: float) -> None:
        """Send what waits; blocks, at most so long."""
        self._tracing.close(timeout_s)

    def around(self, handler: Handler) -> Handler:
        """The handler with a span around each call, which is under way while the call is served.

        It is a child of the client's span where the call has a context that can be understood. The call's notes become
        its tags, and get the trace's id.
        """

        async def traced(call: Call) -> bytes:
            span = self._begin(call)
            if span is None:
                return await handler(call)
            trace_id = self._tracing.trace_id(span)
            if trace_id:
                call.notes["trace_id"] = trace_id
            try:
                with spans.activated(span, sampled=bool(trace_id)):
                    reply = await handler(call)
            except BaseException as error:
                _tag(span, call)
                spans.end(span, error)
                raise
            if trace_id:
                _tag(span, call)
                _judge(span, call.method, reply)
            span.finish()
            return reply

        return traced

    def _begin(self, call: Call) -> Span | None:
        tracer = self._tracing.tracer
        try:
            parent = tracer.extract(FORMAT, dict(call.metadata))
        except (SpanContextCorruptedException, InvalidCarrierException):
            parent = None
        if parent is None and call.method in _UNTRACED:
            return None
        tags: dict[str, Value] = {"component": "grpc", "span.kind": "server", **_peer_tags(call.peer)}
        return tracer.start_span(f"/{SERVICE}/{call.method}", child_of=parent, tags=tags, ignore_active_span=True)


def _tag(span: Span, call: Call) -> None:
    """What was noted, but for the times of stages, which have spans; and the id of the request."""
    for key, value in (*call.notes.items(), *(entry for entry in call.metadata if entry[0] == "request_id")):
        if isinstance(value, (str, int)) and key != "trace_id":
            span.set_tag(key, value[:_LONGEST] if isinstance(value, str) else value)


def _judge(span: Span, method: str, reply: bytes) -> None:
    if method in METHODS:
        code, reason = status_of(method, reply)
        span.set_tag("code", int(code))
        if code:
            spans.fail(span, reason, getattr(code, "name", ""))


def _peer_tags(peer: str) -> Mapping[str, Value]:
    """``ipv4:1.2.3.4:5``, ``ipv6:[::1]:5`` or ``http:1.2.3.4:5`` in OpenTracing's names."""
    transport, _, address = peer.partition(":")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return {"peer.address": peer[:_LONGEST]} if peer else {}
    host = host.replace("%5B", "").replace("%5D", "").strip("[]")
    return {("peer.ipv6" if ":" in host else "peer.ipv4"): host, "peer.port": int(port), "peer.transport": transport}
