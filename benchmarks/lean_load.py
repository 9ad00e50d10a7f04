"""A load generator for searches that are all different, as cheap as Python can be: h2load sends one body for ever.

    python benchmarks/lean_load.py ADDRESS FILE CLIENTS SECONDS

Each client is a connection with one call under way. ``FILE`` is a pickled list of encoded requests, sent in turns. Of
the answers it only looks at whether they begin with the status of success. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transport_load import on_core

from mishards.transport.api import SERVICE
from mishards.transport.loop import run_on
from mishards.wire.replies import OK_FIELD

_HEADER = struct.Struct(">BHBBL")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_MOST = 16_384
_WINDOW = (1 << 31) - 1
_PREFIX_BYTES = 5  # of a gRPC message


@dataclass(frozen=True, slots=True)
class Loaded:
    """Of one run: answers a second, the median and the 99th percentile of their milliseconds."""

    per_s: float
    p50_ms: float
    p99_ms: float


def load(address: str, requests: Sequence[bytes], clients: int, seconds: float, core: int | None = 1) -> Loaded:
    """Run the generator, by itself on a core."""
    with tempfile.NamedTemporaryFile() as file:
        pickle.dump(list(requests), file)
        file.flush()
        command = [sys.executable, __file__, address, file.name, str(clients), str(seconds)]
        pinned = [] if core is None else on_core(core)
        done = subprocess.run([*pinned, *command], stdout=subprocess.PIPE, text=True, check=True)
    return Loaded(**json.loads(done.stdout))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _field(name: bytes, value: bytes) -> bytes:
    """A header field as RFC 7541, section 6.2.2 has it, both parts as plain text."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


_BLOCK = b"".join(
    _field(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/{SERVICE}/Search".encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


class _Client(asyncio.Protocol):
    """One connection; begins the next call as soon as the one under way is answered."""

    def __init__(self, bodies: Sequence[bytes], first: int, step: int, took: list[float]) -> None:
        self._bodies, self._at, self._step, self._took = bodies, first, step, took
        self._stream, self._began, self._rest = -1, 0.0, b""
        self.fault = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, struct.pack(">HL", 4, _WINDOW))
        self._transport.write(hello + _frame(8, 0, 0, struct.pack(">L", _WINDOW - 65_535)))
        self._begin()

    def _begin(self) -> None:
        self._stream += 2
        body = self._bodies[self._at % len(self._bodies)]
        self._at += self._step
        parts = [_frame(_HEADERS, _END_HEADERS, self._stream, _BLOCK)]
        for start in range(0, len(body), _MOST):
            end = start + _MOST
            parts.append(_frame(_DATA, _END_STREAM * (end >= len(body)), self._stream, body[start:end]))
        self._began = time.perf_counter()
        self._transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= _HEADER.size:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            end = start + (high << 16 | low)
            if end > len(data):
                break
            at = end
            self._frame(kind, flags, stream, data, (start, end))
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, data: bytes, span: tuple[int, int]) -> None:
        start, end = span
        if kind == _DATA and self._began and stream == self._stream:
            if not data.startswith(OK_FIELD, start + _PREFIX_BYTES):
                self.fault = repr(data[start:end][:200])
            self._began, began = 0.0, self._began
            self._took.append(time.perf_counter() - began)
        elif kind == _HEADERS and flags & _END_STREAM:
            if self._began:
                self.fault = f"no message: {data[start:end]!r}"
            self._begin()
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._transport.write(_frame(kind, _ACK, 0, data[start:end] if kind == _PING else b""))
        elif kind in (_RESET, _GOAWAY):
            self.fault = f"frame of kind {kind}: {data[start:end]!r}"


async def _run(address: str, requests: Sequence[bytes], clients: int, seconds: float) -> dict[str, float]:
    host, _, port = address.rpartition(":")
    bodies = [struct.pack(">BI", 0, len(request)) + request for request in requests]
    loop, took = asyncio.get_running_loop(), list[float]()
    made = [
        (await loop.create_connection(lambda n=number: _Client(bodies, n, clients, took), host, int(port)))
        for number in range(clients)
    ]
    await asyncio.sleep(seconds / 10)
    took.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    passed, found = time.perf_counter() - began, sorted(took)
    faults = [client.fault for _, client in made if client.fault]
    for transport, _ in made:
        transport.abort()
    if faults or not found:
        raise SystemExit(f"{address}: {faults[:1] or 'no answer'}")
    return {
        "per_s": len(found) / passed,
        "p50_ms": found[len(found) // 2] * 1e3,
        "p99_ms": found[int(0.99 * (len(found) - 1))] * 1e3,
    }


if __name__ == "__main__":
    given = pickle.loads(Path(sys.argv[2]).read_bytes())  # noqa: S301 - written by the process that started this one
    print(json.dumps(run_on("auto", _run(sys.argv[1], given, int(sys.argv[3]), float(sys.argv[4])))))
