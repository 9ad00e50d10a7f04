"""What replicas are worth: searches of one hot segment on three nodes instead of one, and what inserts pay for them.

    python benchmarks/replicas.py [--rounds 3] [--seconds 4]

Three read-only nodes are held to the same share of a core each, the writable one to a larger one. Two routers stand
before the same nodes, with one and with three replicas, and take turns. There are as many callers for each replica, so
that one node and three have equally much to do at a time. Inserts go on while the same collection is searched, so that
replicas load what is flushed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from callers import Called, call
from cluster import Cluster, Watched, cluster, fill, got_their_share, held
from goals import Goal
from node_load import clustered, insert_request, search_request
from routers import expect_hits, router, static
from run import Defaults, Run, benchmark

REPLICAS = 3
CALLERS = 16
"""For each replica."""
INSERTERS = 4
BATCH = 1000
TOPK = 10
SHARE = 0.1
WRITER_SHARE = 0.5
ROWS = 20_480

GOALS = (
    Goal(
        "replicas-search",
        "queries a second of one hot segment, 3 replicas / 1; each node held to 10 % of a core",
        ">=",
        2.85,
        stretch=3.0,
        reason="Near the goal: quotas of a tenth of a core vary by some per cent from round to round.",
    ),
    Goal(
        "replicas-insert",
        "rows inserted a second while the collection is searched, 3 replicas / 1",
        ">=",
        0.97,
        stretch=1.0,
        reason="At the goal, and within the noise of rounds: replicas cost inserts only their share of the cores.",
    ),
)


def measure(run: Run) -> None:
    """One replica and three, in turns: searches, then inserts."""
    rows, most = (1024, 2) if run.tiny else (ROWS, REPLICAS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        nodes = stack.enter_context(cluster(Path(name), most))
        fill(nodes.writable, "hot", 1, rows)
        discovery = static(nodes.writable, nodes.readonly)
        routers = {}
        for count in (1, most):
            fill(nodes.writable, f"grows{count}", 1, 1024)
            settings = {"routing": {"replicas": count}}
            started = router(Path(name), nodes.metadata, discovery, core=None, settings=settings)
            _, routers[count] = stack.enter_context(started)
            for _ in range(4 * most):  # each replica has loaded it, then
                expect_hits(routers[count], _search("hot"), TOPK)
        stack.enter_context(held(nodes.pids, 0.5 if run.tiny else SHARE))
        stack.enter_context(held([nodes.writable_pid], WRITER_SHARE))
        for _ in run.rounds():
            _round(run, routers, nodes)


def _round(run: Run, routers: Mapping[int, str], nodes: Cluster) -> None:
    queries = [search_request("hot", row[None], TOPK, "{}") for row in clustered(256, 99)]
    searched, shares = {}, []
    for count, address in routers.items():
        watched = Watched.begin(nodes.pids)
        searched[count] = call(address, "Search", queries, CALLERS * count, run.seconds)
        shares += sorted(watched.shares())[-count:]  # of those that searched
    inserted = {count: _insert(address, f"grows{count}", run.seconds / 2) for count, address in routers.items()}
    for count in routers:
        subject = f"{count} replicas" if count > 1 else "1 replica"
        run.figure(subject, "queries/s", searched[count].per_s)
        run.figure(subject, "p50 ms", searched[count].p50_ms)
        run.figure(subject, "rows inserted/s", inserted[count].per_s * BATCH)
        run.figure(subject, "insert p50 ms", inserted[count].p50_ms)
    if got_their_share(run, shares, SHARE):
        run.measured("replicas-search", searched[max(routers)].per_s / searched[1].per_s)
    run.measured("replicas-insert", inserted[max(routers)].per_s / inserted[1].per_s)


def _insert(address: str, name: str, seconds: float) -> Called:
    batch = insert_request(name, clustered(BATCH, 5))
    with ThreadPoolExecutor(1) as threads:
        searches = threads.submit(call, address, "Search", [_search(name)], 1, seconds)
        inserted = call(address, "Insert", [batch], INSERTERS, seconds)
        searches.result()
    return inserted


def _search(name: str) -> bytes:
    return search_request(name, clustered(1, 7), TOPK, "{}")


if __name__ == "__main__":
    benchmark("replicas", "Replicas of a hot segment", GOALS, measure, Defaults(3, 4.0))
