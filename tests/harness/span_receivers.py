"""What receives spans: a Jaeger agent's socket and an OTLP collector, both decoding what really arrives."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jaeger_client.thrift_gen.agent import Agent
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.transport.TTransport import TMemoryBuffer

from mishards.testing.tracing import ReceivedSpan
from mishards.tracing.api import Value

_UNSIGNED = (1 << 64) - 1
_MOST_BYTES = 1 << 16


class JaegerAgent:
    """A UDP socket, and the spans of the datagrams in it, decoded by jaeger-client's own classes."""

    def __init__(self, port: int = 0) -> None:
        """Listen at a port of 127.0.0.1; 0 is any free one."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._spans: list[ReceivedSpan] = []
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def received(self) -> list[ReceivedSpan]:
        """Every span that has arrived so far."""
        while self._socket.fileno() >= 0:
            try:
                self._spans += _decoded(self._socket.recv(_MOST_BYTES))
            except BlockingIOError:
                break
        return list(self._spans)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def _decoded(datagram: bytes) -> list[ReceivedSpan]:
    protocol = TCompactProtocol(TMemoryBuffer(datagram))
    name, kind, _ = protocol.readMessageBegin()
    assert (name, kind) == ("emitBatch", 4), "4 is a call without an answer"
    arguments_type: Any = Agent.emitBatch_args
    arguments = arguments_type()
    arguments.read(protocol)
    protocol.readMessageEnd()
    return [_of_jaeger(arguments.batch.process.serviceName, span) for span in arguments.batch.spans]


def _of_jaeger(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.operationName,
        (span.traceIdHigh & _UNSIGNED) << 64 | span.traceIdLow & _UNSIGNED,
        span.spanId & _UNSIGNED,
        span.parentSpanId & _UNSIGNED,
        _jaeger_tags(span.tags),
        tuple(_jaeger_tags(entry.fields) for entry in span.logs or ()),
        span.startTime,
        span.duration,
    )


def _jaeger_tags(tags: Any) -> dict[str, Value]:
    fields = ("vStr", "vDouble", "vBool", "vLong")  # in the order of the types' numbers
    return {tag.key: getattr(tag, fields[tag.vType]) for tag in tags or ()}


class OtlpCollector:
    """An HTTP server that takes OTLP's protobuf; closed with ``close``."""

    def __init__(self) -> None:
        self._spans: list[ReceivedSpan] = []
        self.open = threading.Event()
        """Requests are answered only while it is set."""
        self.open.set()
        spans, gate = self._spans, self.open

        class Requests(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces", self.path
                spans.extend(_of_request(ExportTraceServiceRequest.FromString(body)))
                gate.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="otlp-collector")
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def received(self) -> list[ReceivedSpan]:
        """Every span that has arrived so far."""
        return list(self._spans)

    def close(self) -> None:
        """Listen no more."""
        if self._thread.is_alive():
            self.open.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


def _of_request(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        _of_otlp(str(_attributes(resource.resource.attributes)["service.name"]), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _of_otlp(service: str, span: Any) -> ReceivedSpan:
    tags = {**_attributes(span.attributes), "otlp.status": span.status.code}
    return ReceivedSpan(
        service,
        span.name,
        int.from_bytes(span.trace_id, "big"),
        struct.unpack(">Q", span.span_id)[0],
        int.from_bytes(span.parent_span_id, "big"),
        tags,
        tuple(_attributes(event.attributes) for event in span.events),
        span.start_time_unix_nano // 1000,
        (span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
    )


def _attributes(pairs: Any) -> Mapping[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
