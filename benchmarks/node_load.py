"""The other ends of ``node.py``: a node as a process, a client of it, its rows, and callers in their own process.

Run as a program it is that process of callers: orders come as JSON lines on standard input, figures go to standard
output.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from transport_load import on_core

from mishards.catalog.engine import open_engine
from mishards.catalog.reader import CatalogReader
from mishards.deadline import Deadline
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.search import search_in_files
from mishards.wire.vectors import encode_rows

SERVICE = "/milvus.grpc.MilvusService/"
Floats = NDArray[np.float32]

DIMENSION = 128
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def search_request(name: str, queries: Floats, topk: int, params: str) -> bytes:
    """An encoded Search."""
    pair = pb.KeyValuePair(key="params", value=params)
    head = pb.SearchParam(collection_name=name, topk=topk, extra_params=[pair])
    return head.SerializeToString() + encode_rows(b"\x1a", queries)


def start_node(
    folder: Path, role: str, *, core: int | None = None, settings: dict[str, Any] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """A node on a free port, ready; ``settings`` are those of its file, section by section."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "milvus_node", "serve", "--address", "127.0.0.1:0", "--http-address", ""]
    command += ["--storage", str(folder), "--role", role, "--log-level", "warning"]
    if settings:
        (folder / "node.yaml").write_text(json.dumps(settings))
        command += ["--config", str(folder / "node.yaml")]
    if core is not None:
        command = [*on_core(core), *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("ready "):
        raise SystemExit("the node did not start; its log is above")
    return process, line.split()[1]


class Client:
    """One caller after another, and a look at the node's process from outside."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self._process = Path("/proc") / str(pid)
        self._channel: Any = grpc.insecure_channel(address, options=OPTIONS)

    def call(self, method: str, request: bytes) -> bytes:
        """The reply of a call that must succeed."""
        reply: bytes = self._channel.unary_unary(SERVICE + method)(request, timeout=600)
        status = pb.BoolReply.FromString(reply).status
        if status.error_code:
            raise SystemExit(f"{method}: {status.reason}")
        return reply

    def ok(self, method: str, request: Any) -> None:
        """Call with a message whose reply is a bare status."""
        reply = self._channel.unary_unary(SERVICE + method)(request.SerializeToString(), timeout=600)
        status = type(pb.BoolReply().status).FromString(reply)
        if status.error_code:
            raise SystemExit(f"{method}: {status.reason}")

    def cpu_s(self) -> float:
        """CPU seconds of the node so far."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """The most that was resident since the start or ``forget_peak``."""
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10

    def forget_peak(self) -> None:
        """Begin a new peak."""
        (self._process / "clear_refs").write_text("5")

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def clustered(rows: int, seed: int, clusters: int = 500) -> Floats:
    """Rows of one mixture of Gaussian clusters, whatever the seed."""
    centres = np.random.default_rng(0).normal(size=(clusters, DIMENSION)).astype(np.float32)
    random = np.random.default_rng(seed)
    found = random.standard_normal((rows, DIMENSION), np.float32)
    found *= np.float32(0.3)
    found += centres[random.integers(0, clusters, rows)]
    return found


def insert_request(name: str, rows: Floats) -> bytes:
    """An encoded Insert without ids."""
    return pb.InsertParam(collection_name=name).SerializeToString() + encode_rows(b"\x12", rows)


@contextmanager
def configured(folder: Path, core: int | None, *, auto_flush: bool = True) -> Iterator[Client]:
    """A writable node on a core, or on any, with one thread for searches; without ``auto_flush`` only when told to."""
    calls = {} if core is None else {"calls": {"search_threads": 1}}
    settings = calls if auto_flush else {**calls, "storage": {"auto_flush_interval_s": 0}}
    with _running(*start_node(folder, "writable", core=core, settings=settings)) as client:
        yield client


@contextmanager
def node(folder: Path, role: str = "writable") -> Iterator[Client]:
    """A node as a process, and a client of it."""
    with _running(*start_node(folder, role)) as client:
        yield client


@contextmanager
def _running(process: subprocess.Popen[str], address: str) -> Iterator[Client]:
    client = Client(address, process.pid)
    try:
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(30)


def create(client: Client, name: str, megabytes: int = 1024) -> None:
    """Make a collection of L2."""
    client.ok(
        "CreateCollection",
        pb.CollectionSchema(collection_name=name, dimension=DIMENSION, index_file_size=megabytes, metric_type=1),
    )


def fill(client: Client, name: str, rows: Floats, step: int = 100_000) -> None:
    """Insert rows; each flush of up to ``step`` rows makes one segment."""
    for start in range(0, len(rows), step):
        client.call("Insert", insert_request(name, rows[start : start + step]))
        client.ok("Flush", pb.FlushParam(collection_name_array=[name]))


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of callers did."""

    calls: int
    seconds: float
    cpu_s: float
    """Of the process of the callers."""

    @property
    def calls_per_s(self) -> float:
        """Throughput."""
        return self.calls / self.seconds


class Load:
    """Callers in a process of their own."""

    def __init__(self, folder: Path, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)

    def prepare(self, requests: Sequence[bytes]) -> None:
        """Hand over the requests that callers send in turn."""
        with tempfile.NamedTemporaryFile(delete=False) as file:
            pickle.dump(list(requests), file)
        self._ask({"requests": file.name})
        Path(file.name).unlink()
        for target in ("path", "grpc"):
            self.run(target, 4, 0.2)

    def run(self, target: str, callers: int, seconds: float) -> Figures:
        """Call as often as possible: the node over ``grpc``, or this process's own node on the ``path`` alone."""
        return Figures(**self._ask({"target": target, "callers": callers, "seconds": seconds}))

    def _ask(self, order: dict[str, Any]) -> Any:
        orders, figures = self._process.stdin, self._process.stdout
        if orders is None or figures is None:
            raise RuntimeError("the process of the callers has no pipes")
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        return json.loads(figures.readline())


async def _callers(send: Callable[[bytes], Awaitable[bytes]], requests: Sequence[bytes], order: Any) -> Figures:
    calls, stop_at = 0, time.perf_counter() + order["seconds"]

    async def caller(number: int) -> None:
        nonlocal calls
        at = number
        while time.perf_counter() < stop_at:
            reply = await send(requests[at % len(requests)])
            if len(reply) < 20:
                raise RuntimeError(f"an answer without hits: {reply!r}")
            calls, at = calls + 1, at + order["callers"]

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(number) for number in range(order["callers"])))
    return Figures(calls, time.perf_counter() - start, time.process_time() - cpu)


def _in_files(metadata_uri: str, requests: Sequence[bytes]) -> list[bytes]:
    """The requests as a router sends them: with the files to search."""
    reader = CatalogReader(open_engine(metadata_uri))
    name = pb.SearchParam.FromString(requests[0]).collection_name
    collection = reader.read(None).collection(name)
    reader.close()
    return [search_in_files([segment.file.id for segment in collection.segments], request) for request in requests]


async def _obey(folder: Path, address: str) -> None:
    from milvus_node.assembly import Node
    from milvus_node.config import NodeOptions, StorageOptions
    from milvus_node.roles import Role

    options = NodeOptions(role=Role.READONLY, http_address="", storage=StorageOptions(path=folder))
    node = Node(options)
    dispatch = await asyncio.to_thread(node.open)
    # As a router asks: it says on which revision it works, so that no call reads the catalog anew.
    metadata = (("mishards-revision", "0"),)
    channel: Any = grpc.aio.insecure_channel(address, options=OPTIONS)
    over_grpc = channel.unary_unary(SERVICE + "Search")
    sends: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
        "path": lambda request: dispatch(Call("SearchInFiles", request, metadata, Deadline.after(60))),
        "grpc": lambda request: over_grpc(request, timeout=60),
    }
    requests: list[bytes] = []
    in_files: list[bytes] = []
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        if "requests" in order:
            data = Path(order["requests"]).read_bytes()  # noqa: ASYNC240 - nothing else runs in this loop now
            requests = pickle.loads(data)  # noqa: S301 - written by the process that started this one
            in_files = _in_files(options.metadata_uri, requests)
            answer: Any = {}
        else:
            target = order["target"]
            sent = in_files if target == "path" else requests
            answer = asdict(await _callers(sends[target], sent, order))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_obey(Path(sys.argv[1]), sys.argv[2]))
