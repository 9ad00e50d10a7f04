"""What a node costs on top of faiss: searches, inserts, index builds, memory.

    python benchmarks/node.py [--quick] [--only search,insert,memory] [--indexes FLAT,HNSW] [--json FILE]

Everything compared is measured in turns within one run, medians over the rounds. ``faiss`` is a loop of calls of the
plain library in one thread of this process, with the kernels that the node picks. ``path`` is the node's search path
without a transport: calls handed to the dispatcher of a second node, read-only and in the process of the client.
``gRPC n`` is n callers of the node's own process; requests are prebuilt, all different, and the client is a process of
its own, so on two cores client and node have one each. ``client`` is its CPU per call, ``node`` the node's.

Memory is the peak of resident bytes as the kernel counts it (VmHWM), of a node fresh after its start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from node_load import DIMENSION, Client, Floats, Load, clustered, create, fill, insert_request, node, search_request

from milvus_node.index.engine import cpu_flags, environment_for
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.vectors import encode_rows

TOPK = 10
INDEXES = {
    "FLAT": (1, "{}", "{}"),
    "IVF_FLAT": (2, '{"nlist": 1024}', '{"nprobe": 16}'),
    "HNSW": (11, '{"M": 16, "efConstruction": 200}', '{"ef": 64}'),
}
"""Number in the protocol, parameters of the build, parameters of a search."""
CALLERS = (1, 16, 64)
QUERIES = 2000

Row = dict[str, Any]


def create_index(client: Client, name: str, kind: str) -> float:
    """Build an index of every segment; the seconds that took."""
    number, build, _ = INDEXES[kind]
    params = [pb.KeyValuePair(key="params", value=build)]
    start = time.perf_counter()
    client.ok("CreateIndex", pb.IndexParam(collection_name=name, index_type=number, extra_params=params))
    return time.perf_counter() - start


# --- searches and builds ---------------------------------------------------------------------------------------------


def plain_faiss(kind: str, rows: Floats) -> tuple[Any, float]:
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


def loop_qps(index: Any, queries: Floats, nq: int, seconds: float) -> float:
    """Queries a second of one call after another."""
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        at = done % (len(queries) - nq + 1)
        index.search(queries[at : at + nq], TOPK)
        done += nq
    return done / passed


def recall(index: Any, queries: Floats, client: Client, request: bytes) -> float:
    """The share of faiss's answer that the node's has too."""
    _, ids = index.search(queries, TOPK)
    found = np.array(pb.TopKQueryResult.FromString(client.call("Search", request)).ids).reshape(ids.shape)
    return float(np.mean([len(set(a) & set(b)) / TOPK for a, b in zip(ids.tolist(), found.tolist(), strict=True)]))


def searches(folder: Path, rows_wanted: int, seconds: float, rounds: int) -> tuple[list[Row], list[Row]]:
    """The tables of searches and of builds."""
    rows, queries = clustered(rows_wanted, 1), clustered(QUERIES, 2)
    found, builds = [], []
    with node(folder) as client, Load(folder, client.address) as load:
        for kind in ARGUMENTS.indexes.split(","):
            create(client, kind)
            head = pb.InsertParam(collection_name=kind, row_id_array=range(len(rows))).SerializeToString()
            client.call("Insert", head + encode_rows(b"\x12", rows))
            client.ok("Flush", pb.FlushParam(collection_name_array=[kind]))
            index, plain_s = plain_faiss(kind, rows)
            if kind != "FLAT":
                node_s = create_index(client, kind, kind)
                builds.append({"index": kind, "node s": node_s, "faiss s": plain_s, "node / faiss": node_s / plain_s})
            params = INDEXES[kind][2]
            same = recall(index, queries[:200], client, search_request(kind, queries[:200], TOPK, params))
            for nq in (1, 100):
                requests = [
                    search_request(kind, queries[at : at + nq], TOPK, params) for at in range(0, QUERIES - nq + 1, nq)
                ]
                row = _search_row(client, load, requests, partial(loop_qps, index, queries, nq, seconds), rounds)
                found.append({"index": kind, "nq": nq, **_times(row, nq), "same ids": same})
                print_table([found[-1]])
    return found, builds


def _search_row(
    client: Client, load: Load, requests: Sequence[bytes], in_process: Callable[[], float], rounds: int
) -> dict[str, float]:
    seconds = ARGUMENTS.seconds
    load.prepare(requests)
    measured: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        measured["faiss"].append(in_process())
        measured["path 64"].append(load.run("path", 64, seconds).calls_per_s)
        for callers in CALLERS:
            cpu = client.cpu_s()
            result = load.run("grpc", callers, seconds)
            measured[f"gRPC {callers}"].append(result.calls_per_s)
            if callers == CALLERS[-1]:
                measured["node us"].append((client.cpu_s() - cpu) / result.calls * 1e6)
                measured["client us"].append(result.cpu_s / result.calls * 1e6)
    return {name: statistics.median(values) for name, values in measured.items()}


def _times(row: dict[str, float], nq: int) -> Row:
    """Queries a second of faiss, the others as shares of it, and the CPU of a call."""
    ratios = {name: value * nq / row["faiss"] for name, value in row.items() if name.startswith(("path", "gRPC"))}
    return {"faiss QPS": row["faiss"], **ratios, "node us": row["node us"], "client us": row["client us"]}


# --- inserts ---------------------------------------------------------------------------------------------------------


def inserts(folder: Path, rounds: int) -> list[Row]:
    """Durable rows a second beside ``np.save`` and fsync of the same bytes."""
    found = []
    with node(folder) as client:
        for batch in (1_000, 10_000, 100_000):
            rows = clustered(batch, 3)
            create(client, f"rows{batch}")
            request = insert_request(f"rows{batch}", rows)
            ours, plain = [], []
            for _ in range(2 * rounds + 1):
                start = time.perf_counter()
                client.call("Insert", request)
                ours.append(time.perf_counter() - start)
                start = time.perf_counter()
                with (folder / "plain.npy").open("wb") as file:
                    np.save(file, rows)
                    file.flush()
                    os.fsync(file.fileno())
                plain.append(time.perf_counter() - start)
            node_s, plain_s = statistics.median(ours), statistics.median(plain)
            rates = {"node rows/s": batch / node_s, "np.save rows/s": batch / plain_s, "ratio": plain_s / node_s}
            found.append({"batch": batch, **rates})
    return found


# --- memory ----------------------------------------------------------------------------------------------------------


def memory(folder: Path, megabytes: int) -> list[Row]:
    """Peaks of a node that serves and builds, in eight segments and in one, and that takes in one large insert."""
    found = []
    for segments in (8, 1):
        found += _serving(folder / str(segments), megabytes, segments)
    return [*found, _large_insert(folder / "burst")]


def _phase(name: str, peak: int, target: float) -> Row:
    return {"phase": name, "MB": peak / 2**20, "target MB": target / 2**20, "met": peak < target}


def _serving(folder: Path, megabytes: int, segments: int) -> list[Row]:
    rows = clustered((megabytes << 20) // (4 * DIMENSION), 4)
    target = 1.3 * rows.nbytes + 300e6
    with node(folder) as client:
        create(client, "big", megabytes // segments)
        fill(client, "big", rows, len(rows) // segments + 1)
        time.sleep(2)  # let the background merge what it will
    label = f"{megabytes} MB in {segments}"
    with node(folder) as client:
        found = [_phase("idle", client.peak_bytes(), 300e6)]
        client.call("Search", search_request("big", rows[:1], TOPK, "{}"))
        found.append(_phase(f"{label}: serving", client.peak_bytes(), target))
        client.forget_peak()
        create_index(client, "big", "IVF_FLAT")
        found.append(_phase(f"{label}: building IVF_FLAT", client.peak_bytes(), target))
        client.forget_peak()
        client.call("Search", search_request("big", rows[:1], TOPK, '{"nprobe": 16}'))
        found.append(_phase(f"{label}: serving IVF_FLAT", client.peak_bytes(), target))
    return found


def _large_insert(folder: Path) -> Row:
    rows = clustered((ARGUMENTS.insert_mb << 20) // (4 * DIMENSION), 5)
    with node(folder) as client:
        create(client, "burst")
        idle = client.peak_bytes()
        client.call("Insert", insert_request("burst", rows))
        client.ok("Flush", pb.FlushParam(collection_name_array=["burst"]))
        return _phase(f"insert of {ARGUMENTS.insert_mb} MB, above idle", client.peak_bytes() - idle, 4 * rows.nbytes)


# --- the program -----------------------------------------------------------------------------------------------------


def print_table(rows: Sequence[Row]) -> None:
    """Print rows of one shape."""
    if not rows:
        return
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="What a node costs on top of faiss.")
    parser.add_argument("--quick", action="store_true", help="fewer rows, one short round")
    parser.add_argument("--only", default="search,insert,memory", help="which parts, by commas")
    parser.add_argument("--indexes", default=",".join(INDEXES), help="which, by commas")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--memory-mb", type=int, help="vectors served in the memory part")
    parser.add_argument("--insert-mb", type=int)
    full = {"rows": 100_000, "seconds": 1.5, "rounds": 3, "memory_mb": 512, "insert_mb": 250}
    short = {"rows": 20_000, "seconds": 0.4, "rounds": 1, "memory_mb": 128, "insert_mb": 64}
    given = parser.parse_args()
    for name, value in (short if given.quick else full).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    return given


def main() -> None:
    """Measure and print."""
    os.environ.update(environment_for(cpu_flags(Path("/proc/cpuinfo").read_text()), os.environ))
    given, wanted = ARGUMENTS, ARGUMENTS.only.split(",")
    tables: dict[str, list[Row]] = {}
    print(f"load before: {os.getloadavg()}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "search" in wanted:
            tables["search"], tables["build"] = searches(folder / "search", given.rows, given.seconds, given.rounds)
        if "insert" in wanted:
            tables["insert"] = inserts(folder / "insert", given.rounds)
        if "memory" in wanted:
            tables["memory"] = memory(folder / "memory", given.memory_mb)
    for title, rows in tables.items():
        print(f"{title}:")
        print_table(rows)
    print(f"load after: {os.getloadavg()}")
    if given.json:
        given.json.write_text(json.dumps({"load": os.getloadavg(), **tables}, indent=1))


if __name__ == "__main__":
    ARGUMENTS = arguments()
    main()
