"""The whole path, client to router to node and back, beside a loop of calls of the library: one query, 64 clients.

    python benchmarks/routed.py [--rounds 3] [--seconds 2]

The node has core 0, with one thread of the library; router and callers share core 1. The library's loop has core 0 in
turn: the same index, read from what the node wrote, in a process of its own with the library's defaults, one query a
call, one thread. Queries are all different. Rows are of 5,000 Gaussian clusters; nlist 1024, nprobe 16, k = 10. The
catalog, metrics and failover are on.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from goals import Goal
from lean_load import load
from node_load import Client, Floats, clustered, configured, create, insert_request, search_request
from plain_faiss import PlainFaiss, export
from routers import expect_hits, router, static
from run import Defaults, Run, benchmark

from mishards.kinds import IndexType
from mishards.wire.protos import milvus_pb2 as pb

CLIENTS = 64
TOPK = 10
QUERIES = 2048
CLUSTERS = 5000
STEP = 100_000
"""Rows of one insert."""

_REASON = (
    "Besides the library's own time a search costs the node its frames, its batch and its reply. For 100,000 rows the "
    "time that callers save by being searched for together makes up for most of that, for a million it is too little."
)
_FLAT_REASON = "Near the goal; batches are as large as what waits, which with 64 callers is less than 64."

GOALS = (
    Goal(
        "routed-mean",
        "queries a second through the cluster / the library's loop, one core each, mean of three IVF collections",
        ">=",
        1.0,
        reason=_REASON,
    ),
    Goal("routed-least", "the same, the worst of the three", ">=", 0.9, reason=_REASON),
    Goal("routed-flat", "the same, exact search of 100,000 rows", ">=", 4.0, reason=_FLAT_REASON),
)


@dataclass(frozen=True)
class Subject:
    """A collection."""

    name: str
    kind: IndexType
    rows: int

    @property
    def params(self) -> str:
        """Of a search."""
        return "{}" if self.kind is IndexType.FLAT else '{"nprobe": 16}'


SUBJECTS = (
    Subject("IVF_FLAT_100k", IndexType.IVF_FLAT, 100_000),
    Subject("IVF_FLAT_1M", IndexType.IVF_FLAT, 1_000_000),
    Subject("IVF_SQ8_1M", IndexType.IVF_SQ8, 1_000_000),
    Subject("FLAT_100k", IndexType.FLAT, 100_000),
)


def measure(run: Run) -> None:
    """The library, the cluster, the library again, for each collection in turns."""
    subjects = [Subject(s.name, s.kind, 5000) for s in SUBJECTS] if run.tiny else SUBJECTS
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        queries = clustered(QUERIES, 2, CLUSTERS)
        np.save(folder / "queries.npy", queries)
        _prepare(run, folder, subjects)
        node = stack.enter_context(configured(folder, core=0))
        _, address = stack.enter_context(
            router(folder, f"sqlite:///{folder}/db/meta.sqlite", static(node.address), core=1)
        )
        requests, plain = {}, {}
        for subject in subjects:
            rows = folder / f"{subject.name}.{'npy' if subject.kind is IndexType.FLAT else 'faiss'}"
            plain[subject.name] = stack.enter_context(PlainFaiss(rows, folder / "queries.npy", 16))
            requests[subject.name] = [search_request(subject.name, q[None], TOPK, subject.params) for q in queries]
            expect_hits(address, requests[subject.name][0], TOPK)
        for _ in run.rounds():
            _round(run, address, requests, plain)


def _prepare(run: Run, folder: Path, subjects: tuple[Subject, ...] | list[Subject]) -> None:
    """Fill a node's folder: each collection has one segment."""
    rows = clustered(max(subject.rows for subject in subjects), 1, CLUSTERS)
    with configured(folder, core=None, auto_flush=False) as client:
        for subject in subjects:
            run.say(f"building {subject.name}")
            _fill(client, subject, rows[: subject.rows])
    for subject in subjects:
        if subject.kind is IndexType.FLAT:
            np.save(folder / f"{subject.name}.npy", rows[: subject.rows])
        else:
            export(folder, subject.name, folder / f"{subject.name}.faiss")


def _fill(client: Client, subject: Subject, rows: Floats) -> None:
    create(client, subject.name)
    for start in range(0, len(rows), STEP):
        client.call("Insert", insert_request(subject.name, rows[start : start + STEP]))
    client.ok("Flush", pb.FlushParam(collection_name_array=[subject.name]))
    if subject.kind is not IndexType.FLAT:
        params = [pb.KeyValuePair(key="params", value='{"nlist": 1024}')]
        client.ok(
            "CreateIndex", pb.IndexParam(collection_name=subject.name, index_type=subject.kind, extra_params=params)
        )


def _round(run: Run, address: str, requests: Mapping[str, list[bytes]], plain: Mapping[str, PlainFaiss]) -> None:
    ratios = {}
    for name, library in plain.items():
        before = library.qps(1, TOPK, run.seconds / 2)
        found = load(address, requests[name], CLIENTS, run.seconds)
        after = library.qps(1, TOPK, run.seconds / 2)
        ratios[name] = found.per_s / statistics.mean((before, after))
        run.figure(name, "library QPS", statistics.mean((before, after)))
        run.figure(name, "routed QPS", found.per_s)
        run.figure(name, "ratio", ratios[name])
        run.figure(name, "p50 ms", found.p50_ms)
        run.figure(name, "p99 ms", found.p99_ms)
    approximate = [ratio for name, ratio in ratios.items() if name.startswith("IVF")]
    run.measured("routed-mean", statistics.mean(approximate))
    run.measured("routed-least", min(approximate))
    run.measured("routed-flat", ratios["FLAT_100k"])


if __name__ == "__main__":
    benchmark("routed", "The whole path beside the library alone", GOALS, measure, Defaults(rounds=3, seconds=2))
