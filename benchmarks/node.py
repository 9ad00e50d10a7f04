"""What a node costs on top of the library: searches one at a time and by the hundred, index builds, memory.

    python benchmarks/node.py [--rounds 3] [--seconds 1] [--indexes FLAT,IVF_FLAT,HNSW] [--memory-mb 256]

``library`` is a loop of calls in one thread of this process, with the kernels that the node picks. ``path`` is the
node's search path without a transport: 64 calls under way at the dispatcher of a read-only node in the process of the
callers. ``gRPC n`` is n callers of the node's own process, on grpcio; requests are made before and all different. On
two cores callers and node have about one each. Memory is the peak of resident bytes as the kernel counts it, of a node
fresh after its start.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from goals import Goal
from node_load import DIMENSION, Client, Floats, Load, clustered, create, fill, insert_request, node, search_request
from run import Defaults, Run, benchmark

from milvus_node.index.engine import cpu_flags, environment_for
from mishards.wire.protos import milvus_pb2 as pb

TOPK = 10
INDEXES = {
    "FLAT": (1, "{}", "{}"),
    "IVF_FLAT": (2, '{"nlist": 1024}', '{"nprobe": 16}'),
    "HNSW": (11, '{"M": 16, "efConstruction": 200}', '{"ef": 64}'),
}
"""Number in the protocol, parameters of the build, parameters of a search."""
CALLERS = (1, 64)
QUERIES = 2000
ROWS = 100_000

GOALS = (
    Goal(
        "node-batch",
        "queries a second of a node, 100 a call, one caller / the library's loop, IVF_FLAT, 100,000 rows",
        ">=",
        0.9,
        reason="With one caller the node's core rests while the caller encodes and reads; with 64 it does not.",
    ),
    Goal("node-build", "time to build IVF_FLAT of 100,000 rows, node / library", "<=", 1.3),
    Goal(
        "node-memory",
        "peak memory of serving and of building / 1.3 times the vectors and 300 MB, the worst of them",
        "<=",
        1.0,
    ),
)


def measure(run: Run) -> None:
    """Searches and builds, then memory."""
    os.environ.update(environment_for(cpu_flags(Path("/proc/cpuinfo").read_text()), os.environ))
    with tempfile.TemporaryDirectory() as name:
        _searches(run, Path(name) / "search")
        _memory(run, Path(name))


# --- searches and builds ---------------------------------------------------------------------------------------------


def _searches(run: Run, folder: Path) -> None:
    rows, queries = clustered(5000 if run.tiny else ROWS, 1), clustered(QUERIES, 2)
    kinds = ["IVF_FLAT"] if run.tiny else run.options.indexes.split(",")
    libraries = {}
    with ExitStack() as stack:
        client = stack.enter_context(node(folder))
        caller = stack.enter_context(Load(folder, client.address))
        for kind in kinds:
            create(client, kind)
            fill(client, kind, rows, len(rows))
            libraries[kind], plain_s = _library(kind, rows)
            node_s = _create_index(client, kind, kind)
            if kind != "FLAT":
                run.figure(kind, "build / library", node_s / plain_s)
            if kind == "IVF_FLAT":
                run.measured("node-build", node_s / plain_s)
        for _ in run.rounds():
            for kind, library in libraries.items():
                for nq in (1, 100):
                    _round(run, client, caller, library, (kind, nq, queries))


def _library(kind: str, rows: Floats) -> tuple[Any, float]:
    """The library's own index of the rows, and the seconds it took to build."""
    import faiss

    start = time.perf_counter()
    index: Any
    if kind == "FLAT":
        index = faiss.IndexFlatL2(DIMENSION)
    elif kind == "IVF_FLAT":
        index = faiss.index_factory(DIMENSION, "IVF1024,Flat")
        index.nprobe = 16
    else:
        index = faiss.IndexHNSWFlat(DIMENSION, 16)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 64
    index.train(rows)
    index.add(rows)
    return index, time.perf_counter() - start


def _create_index(client: Client, name: str, kind: str) -> float:
    """Build an index of every segment; the seconds that took."""
    number, build, _ = INDEXES[kind]
    params = [pb.KeyValuePair(key="params", value=build)]
    start = time.perf_counter()
    client.ok("CreateIndex", pb.IndexParam(collection_name=name, index_type=number, extra_params=params))
    return time.perf_counter() - start


def _round(run: Run, client: Client, caller: Load, library: Any, what: tuple[str, int, Floats]) -> None:
    kind, nq, queries = what
    params = INDEXES[kind][2]
    starts = range(0, QUERIES - nq + 1, nq)
    caller.prepare([search_request(kind, queries[at : at + nq], TOPK, params) for at in starts])
    subject, plain = f"{kind}, nq {nq}", _loop_qps(library, queries, nq, run.seconds)
    run.figure(subject, "library QPS", plain)
    run.figure(subject, "path 64", caller.run("path", 64, run.seconds).calls_per_s * nq / plain)
    for callers in CALLERS:
        cpu = client.cpu_s()
        found = caller.run("grpc", callers, run.seconds)
        run.figure(subject, f"gRPC {callers}", found.calls_per_s * nq / plain)
        run.figure(subject, f"node us/call {callers}", (client.cpu_s() - cpu) / found.calls * 1e6)
        if (kind, nq, callers) == ("IVF_FLAT", 100, 1):
            run.measured("node-batch", found.calls_per_s * nq / plain)


def _loop_qps(index: Any, queries: Floats, nq: int, seconds: float) -> float:
    """Queries a second of one call after another."""
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        at = done % (len(queries) - nq + 1)
        index.search(queries[at : at + nq], TOPK)
        done += nq
    return done / passed


# --- memory ----------------------------------------------------------------------------------------------------------


def _memory(run: Run, folder: Path) -> None:
    """Peaks of a node that serves and builds, in eight segments and in one, and that takes in one large insert."""
    megabytes = 16 if run.tiny else run.options.memory_mb
    shares = [_serving(run, folder / str(segments), megabytes, segments) for segments in ((1,) if run.tiny else (8, 1))]
    run.measured("node-memory", max(shares))
    rows = clustered((megabytes << 20) // (4 * DIMENSION), 5)
    with node(folder / "burst") as client:
        create(client, "burst")
        idle = client.peak_bytes()
        client.call("Insert", insert_request("burst", rows))
        client.ok("Flush", pb.FlushParam(collection_name_array=["burst"]))
        _peak(run, f"insert of {megabytes} MB in one call, above idle", client.peak_bytes() - idle, 4 * rows.nbytes)


def _peak(run: Run, phase: str, peak: int, target: float) -> float:
    run.figure(phase, "peak MB", peak / 2**20)
    run.figure(phase, "share of the bound", peak / target)
    return peak / target


def _serving(run: Run, folder: Path, megabytes: int, segments: int) -> float:
    rows = clustered((megabytes << 20) // (4 * DIMENSION), 4)
    target = 1.3 * rows.nbytes + 300e6
    with node(folder) as client:
        create(client, "big", max(1, megabytes // segments))
        fill(client, "big", rows, len(rows) // segments + 1)
    search = search_request("big", rows[:1], TOPK, "{}")
    by_index = search_request("big", rows[:1], TOPK, '{"nprobe": 16}')
    label, found = f"{megabytes} MB in {segments}", []
    with node(folder) as client:
        client.call("Search", search)
        found.append(_peak(run, f"{label}: serving", client.peak_bytes(), target))
        client.forget_peak()
        _create_index(client, "big", "IVF_FLAT")
        found.append(_peak(run, f"{label}: building IVF_FLAT", client.peak_bytes(), target))
        client.forget_peak()
        client.call("Search", by_index)
        found.append(_peak(run, f"{label}: serving IVF_FLAT", client.peak_bytes(), target))
    return max(found)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--indexes", default=",".join(INDEXES), help="which, by commas (%(default)s)")
    parser.add_argument("--memory-mb", type=int, default=256, help="vectors served in the memory part (%(default)s)")


if __name__ == "__main__":
    benchmark("node", "A node on top of the library", GOALS, measure, Defaults(3, 1.0, _arguments))
