"""Weak scale-out: n nodes with n times the rows answer as many queries a second as one node does.

    python benchmarks/scale.py [--rounds 3] [--seconds 4] [--nodes 1,2,4,8]

Every node is held to the same share of a core by a quota, and has one segment of the same size; the router, and the
callers in this process, are not held. So the nodes scale as if each had a machine, slow but its own. The collections of
all sizes are on the same nodes, and the sizes take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from callers import call
from cluster import Cluster, Watched, cluster, fill, got_their_share, held
from goals import Goal
from node_load import clustered, search_request
from routers import expect_hits, router, static
from run import Defaults, Run, benchmark

CALLERS = 64
TOPK = 10
SHARE = 0.1
"""Of a core, for each node."""
ROWS = 20_480
"""Of a node."""

GOALS = (
    Goal(
        "scale-weak",
        "queries a second, 8 nodes with 8 x the rows / one node; each node held to 10 % of a core",
        ">=",
        0.95,
        stretch=1.0,
        reason="A query waits for the slowest of its nodes, and each of them pauses for most of every 100 ms.",
    ),
)


def measure(run: Run) -> None:
    """Each size in turn, against the smallest."""
    sizes = [1, 2] if run.tiny else [int(size) for size in run.options.nodes.split(",")]
    rows = 1024 if run.tiny else ROWS
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        nodes = stack.enter_context(cluster(Path(name), max(sizes)))
        routers = {}
        for size in sizes:
            fill(nodes.writable, f"over{size}", size, rows)
            discovery = static(nodes.writable, nodes.readonly[:size])
            _, routers[size] = stack.enter_context(router(Path(name), nodes.metadata, discovery, core=None))
        queries = {size: _queries(f"over{size}") for size in sizes}
        for size in sizes:
            expect_hits(routers[size], queries[size][0], TOPK)
        stack.enter_context(held(nodes.pids, 0.5 if run.tiny else SHARE))
        for _ in run.rounds():
            found = {size: _one(run, nodes, size, routers[size], queries[size]) for size in sizes}
            (one, one_shares), (many, many_shares) = found[sizes[0]], found[sizes[-1]]
            if got_their_share(run, [*one_shares, *many_shares], SHARE):
                run.measured("scale-weak", many / one)


def _queries(name: str) -> list[bytes]:
    return [search_request(name, row[None], TOPK, "{}") for row in clustered(256, 99)]


def _one(run: Run, nodes: Cluster, size: int, address: str, queries: Sequence[bytes]) -> tuple[float, Sequence[float]]:
    """Queries a second, and the share of a core that each node used."""
    watched = Watched.begin(nodes.pids[:size])
    called = call(address, "Search", queries, CALLERS, run.seconds)
    shares = watched.shares()
    subject = f"{size} nodes" if size > 1 else "1 node"
    run.figure(subject, "queries/s", called.per_s)
    run.figure(subject, "p50 ms", called.p50_ms)
    run.figure(subject, "rows searched/s", called.per_s * size * ROWS)
    run.figure(subject, "% of a core each", 100 * statistics.mean(shares))
    return called.per_s, shares


def _sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", default="1,2,4,8", help="numbers of nodes, by commas (%(default)s)")


if __name__ == "__main__":
    benchmark("scale", "More nodes for more rows", GOALS, measure, Defaults(3, 4.0, _sizes))
