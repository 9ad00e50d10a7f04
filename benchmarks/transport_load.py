"""What loads and surrounds what is measured: servers and callers as processes on their cores, h2load, nginx.

Run as a program it is one of those: ``serve TRANSPORT BYTES`` answers every call with so many bytes, ``call TRANSPORT
ADDRESS BYTES SECONDS`` keeps 16 calls under way.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import can_pin, program

from mishards.deadline import Deadline
from mishards.transport.api import SERVICE, Call, ServerOptions
from mishards.transport.choice import transport_of
from mishards.transport.loop import run_on

URL = f"http://{{address}}/{SERVICE}/Search"
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_LONGEST_S = 20.0
_STOP_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")

_NGINX = """\
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 100000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder}; client_body_buffer_size 256k;
  upstream servers {{ server {address}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} http2;
    http2_max_concurrent_streams 1024;
    location / {{ grpc_pass grpc://servers; grpc_buffer_size 256k; }}
  }}
}}
"""


@dataclass(frozen=True)
class Figures:
    """Of one run: calls a second, microseconds of CPU a call in the process that is measured, median milliseconds."""

    qps: float
    cpu_us: float
    p50_ms: float = 0.0
    took_ms: tuple[float, ...] = ()
    """Every call."""

    @property
    def qps_per_core(self) -> float:
        """Calls for each second of CPU that the measured process used."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0


def median_of(figures: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return Figures(*(statistics.median(getattr(f, name) for f in figures) for name in ("qps", "cpu_us", "p50_ms")))


def on_core(number: int) -> list[str]:
    """A command's beginning that keeps it on one core, where there are several."""
    return ["taskset", "-c", str(number)] if can_pin() else []


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def process(command: Sequence[str], core: int | None) -> Iterator[tuple[int, str]]:
    """A program on a core, or on any, that says ``ready ADDRESS``; its process id and the address."""
    pinned = [] if core is None else on_core(core)
    started = subprocess.Popen([*pinned, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = started.stdout.readline() if started.stdout else ""
        if not line.startswith("ready "):
            raise SystemExit(f"did not start: {' '.join(command)}")
        yield started.pid, line.split()[1]
    finally:
        started.terminate()
        started.wait(_STOP_S)


def server(transport: str, reply_bytes: int, core: int = 0) -> AbstractContextManager[tuple[int, str]]:
    """A server of a transport that answers with so many bytes, on core 0."""
    return process([sys.executable, __file__, "serve", transport, str(reply_bytes)], core)


@contextmanager
def nginx(address: str, core: int = 0) -> Iterator[tuple[int, str]]:
    """Nginx before a server, by ``grpc_pass``; its process id and its address.

    Raises:
        Skipped: it is not installed.
    """
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=folder, address=address, port=port))
        command = [*on_core(core), program("nginx"), "-p", folder, "-c", str(configuration), "-e", "stderr"]
        started = subprocess.Popen(command)
        try:
            wait_for(f"127.0.0.1:{port}")
            yield started.pid, f"127.0.0.1:{port}"
        finally:
            started.terminate()
            started.wait(_STOP_S)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_for(address: str) -> None:
    """Wait until somebody listens there; 20 s at most."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def h2load(pid: int, address: str, body: bytes, *, streams: int, seconds: float, clients: int = 1) -> Figures:
    """Run h2load on core 1: so many clients, each with ``streams`` calls under way; figures of the process ``pid``.

    Where nothing is answered in that time, it is run again for twice as long.

    Raises:
        Skipped: it is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, log = Path(folder) / "request", Path(folder) / "log"
        request.write_bytes(struct.pack(">BI", 0, len(body)) + body)
        command = [*on_core(1), program("h2load", "nghttp2-client"), "-D", f"{seconds * 1000:.0f}ms"]
        command += ["-c", str(clients), "-m", str(streams), "-d", str(request), *_HEADERS]
        before = cpu_s(pid)
        done = subprocess.run(
            [*command, f"--log-file={log}", URL.format(address=address)], capture_output=True, text=True, check=True
        )
        used = cpu_s(pid) - before
        found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
        if found is None or found[2] != "0" or found[3] != "0":
            raise SystemExit(f"h2load found faults:\n{done.stdout}")
        took = tuple(int(line.split()[2]) / 1e3 for line in log.read_text().splitlines())
    calls = int(found[1])
    if calls:
        return Figures(calls / seconds, used * 1e6 / calls, statistics.median(took), took)
    if seconds > _LONGEST_S:
        raise SystemExit(f"{address} answers nothing:\n{done.stdout}")
    return h2load(pid, address, body, streams=streams, seconds=2 * seconds, clients=clients)


async def _serve(transport: str, reply_bytes: int) -> None:
    reply = bytes(reply_bytes)

    async def answer(call: Call) -> bytes:
        return reply

    server = transport_of(transport).server(answer, ServerOptions("127.0.0.1:0"))
    print("ready", await server.start(), flush=True)
    await asyncio.Event().wait()
    await server.stop(0)


async def _call(transport: str, address: str, request_bytes: int, seconds: float) -> None:
    channel, request, end = transport_of(transport).channel(address), bytes(request_bytes), time.monotonic() + seconds
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while time.monotonic() < end:
            await channel.call("Search", request, deadline=Deadline.after(30))
            calls += 1

    before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(16)))
    print(calls / seconds, (time.process_time() - before) * 1e6 / calls)
    await channel.close()


def caller(transport: str, address: str, request_bytes: int, seconds: int) -> Figures:
    """A channel of a transport with 16 calls under way, on core 1."""
    arguments = ["call", transport, address, str(request_bytes), str(seconds)]
    command = [*on_core(1), sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    qps, cpu_us = map(float, done.stdout.split())
    return Figures(qps, cpu_us)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run_on("auto", _serve(sys.argv[2], int(sys.argv[3])))
    else:
        run_on("auto", _call(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
