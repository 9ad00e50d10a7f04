"""What asking eight nodes at once costs, beside a plain router: grpcio, protobuf objects, a merge in Python lists.

    python benchmarks/fanout.py [--rounds 3] [--seconds 2] [--nodes 8]

The nodes are stand-ins that answer at once with full results; both routers merge the same bytes, and their answers are
compared before they are measured. Each router has core 0 in turn; nodes and load share core 1; 16 clients.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from goals import Goal
from node_load import clustered, search_request
from routers import catalog, expect_hits, router, static
from run import Defaults, Run, benchmark
from stand_in import our_nodes, replies
from transport_load import h2load, process

CLIENTS = 16
SEGMENTS_A_NODE = 8
SHAPES = ((1, 10), (100, 100))
"""Queries and topk."""

REASON = (
    "What each node costs the router, some 18 us: frames both ways on a socket of its own, health, latency and metrics."
)
GOALS = tuple(
    Goal(
        f"fanout-{rows}x{topk}",
        f"queries a second over 8 nodes, {rows} x {topk}, router / plain router",
        ">=",
        times,
        reason=REASON,
    )
    for (rows, topk), times in zip(SHAPES, (12, 20), strict=True)
)


def measure(run: Run) -> None:
    """Both routers, small and large searches, in turns."""
    shapes = SHAPES[:1] if run.tiny else SHAPES
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        metadata, files = catalog(folder / "db", "c", SEGMENTS_A_NODE * run.options.nodes)
        bodies = [search_request("c", clustered(rows, 1), topk, '{"nprobe": 1}') for rows, topk in shapes]
        fronts: list[tuple[str, list[tuple[int, str]]]] = [("router", []), ("plain router", [])]
        for (rows, topk), body in zip(shapes, bodies, strict=True):
            # One more is the writable node, which the catalog leaves without work.
            writable, *nodes = stack.enter_context(our_nodes(replies(run.options.nodes + 1, rows, topk))).addresses
            ours = stack.enter_context(router(folder, metadata, static(writable, nodes)))
            plain = stack.enter_context(_plain(folder / f"{rows}x{topk}.json", nodes, files))
            if _answer(ours[1], body, rows * topk) != _answer(plain[1], body, rows * topk):
                raise SystemExit(f"the routers' answers differ, {rows} x {topk}")
            fronts[0][1].append(ours)
            fronts[1][1].append(plain)
        for _ in run.rounds():
            _round(run, fronts, bodies)


def _round(run: Run, fronts: Sequence[tuple[str, list[tuple[int, str]]]], bodies: Sequence[bytes]) -> None:
    for at, (rows, topk) in enumerate(SHAPES[: len(bodies)]):
        qps = {}
        for name, started in fronts:
            pid, address = started[at]
            alone = h2load(pid, address, bodies[at], streams=1, seconds=run.seconds / 2)
            many = h2load(pid, address, bodies[at], streams=1, clients=CLIENTS, seconds=run.seconds)
            qps[name] = many.qps
            subject = f"{name}, {rows} x {topk}"
            run.latencies(f"{subject}, 1 client", alone.took_ms)
            run.figure(subject, "p50 ms", alone.p50_ms)
            run.figure(subject, "queries/s", many.qps)
            run.figure(subject, "us CPU/query", many.cpu_us)
        run.measured(f"fanout-{rows}x{topk}", qps["router"] / qps["plain router"])


def _answer(address: str, body: bytes, hits: int) -> tuple[list[int], list[float]]:
    found = expect_hits(address, body, hits)
    return list(found.ids), list(found.distances)


def _plain(order: Path, nodes: Sequence[str], files: Sequence[int]) -> AbstractContextManager[tuple[int, str]]:
    shares: dict[str, list[int]] = defaultdict(list)
    for at, file in enumerate(files):
        shares[nodes[at % len(nodes)]].append(file)
    order.write_text(json.dumps({"nodes": shares}))
    return process([sys.executable, str(Path(__file__).with_name("plain_router.py")), str(order)], 0)


def _nodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=8, help="stand-ins to ask (8, as the goals say)")


if __name__ == "__main__":
    benchmark("fanout", "Asking eight nodes at once", GOALS, measure, Defaults(3, 2.0, _nodes))
