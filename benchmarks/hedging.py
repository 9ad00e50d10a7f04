"""What hedging does to the slowest searches where 2 % of the nodes' calls take 25 times as long, and what it costs.

    python benchmarks/hedging.py [--rounds 3] [--seconds 5] [--segments 8]

Eight stand-ins take 2 ms for a search, and 50 ms for 2 % of them, chosen by chance. There is a segment for each, with
two replicas; with more segments, those of a slow node have their replicas on several others, and a hedge asks them all.
Two routers stand before the same nodes, one with hedging and one without, and take turns. How many calls there are is
counted by the nodes, how many of them are extra by the router's metrics. Hedges come after the 97th percentile: with
the default, the 95th, calls that are merely late use up a budget of 5 %, and slow ones go without.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from callers import Called, call
from goals import Goal
from node_load import clustered, search_request
from routers import Settings, ask, catalog, expect_hits, router, static
from run import Defaults, Run, benchmark
from stand_in import COUNT_COMMAND, Pace, our_nodes, replies
from transport_load import free_ports

from mishards.wire.protos import milvus_pb2 as pb

NODES = 8
REPLICAS = 2
CALLERS = 4
TOPK = 10
PACE = Pace(usual_ms=2.0, slow_ms=50.0, slow_share=0.02)
PERCENTILE = 0.97
WARM_SEARCHES = 50

REASON = (
    "One search in seven has a slow call; what is left are those whose hedge was slow too, or came when the budget was "
    "spent by calls that were merely late: on a busy machine these come in bursts."
)
GOALS = (
    Goal(
        "hedging-p99",
        "99th percentile of latency over 8 nodes, 2 % of calls slow, hedged / not",
        "<=",
        0.2,
        reason=REASON,
    ),
    Goal("hedging-calls", "calls of nodes that hedging adds, of all", "<=", 5.0, "%"),
)


@dataclass(frozen=True, slots=True)
class Front:
    """A router, and where it shows its metrics."""

    subject: str
    address: str
    http: str


def measure(run: Run) -> None:
    """Without and with, in turns."""
    body = search_request("c", clustered(1, 1), TOPK, "{}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        metadata, _ = catalog(folder / "db", "c", run.options.segments)
        # The first one is the writable node, which the catalog leaves without work.
        nodes = stack.enter_context(our_nodes(replies(NODES + 1, 1, TOPK), PACE))
        discovery = static(nodes.addresses[0], nodes.addresses[1:])
        fronts = []
        for hedge, port in zip((False, True), free_ports(2), strict=True):
            http = f"127.0.0.1:{port}"
            settings: Settings = {
                "network": {"http_address": http},
                "routing": {"replicas": REPLICAS},
                "search": {"hedge": {"enabled": hedge, "percentile": PERCENTILE}},
            }
            _, address = stack.enter_context(router(folder, metadata, discovery, settings=settings))
            fronts.append(Front("with hedging" if hedge else "without hedging", address, http))
            for _ in range(WARM_SEARCHES):  # so that it knows how long nodes take
                expect_hits(address, body, TOPK)
        for _ in run.rounds():
            _round(run, fronts, body, nodes.addresses[0])


def _round(run: Run, fronts: Sequence[Front], body: bytes, counts: str) -> None:
    called, extra = [], 0.0
    for front in fronts:
        before, hedges_before = _count(counts), _hedges(front.http)
        called.append(call(front.address, "Search", [body], CALLERS, run.seconds))
        calls, hedges = _count(counts) - before, _hedges(front.http) - hedges_before
        extra = hedges / (calls - hedges)
        _figures(run, front.subject, called[-1], calls)
    plain, hedged = called
    run.measured("hedging-p99", hedged.p99_ms / plain.p99_ms)
    run.measured("hedging-calls", 100 * extra)


def _figures(run: Run, subject: str, called: Called, calls: int) -> None:
    run.latencies(subject, called.took_ms)
    run.figure(subject, "p50 ms", called.p50_ms)
    run.figure(subject, "p99 ms", called.p99_ms)
    run.figure(subject, "searches/s", called.per_s)
    run.figure(subject, "node calls/search", calls / called.calls)


def _hedges(http: str) -> float:
    with urlopen(f"http://{http}/metrics", timeout=60) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("mishards_hedges_total"))


def _count(address: str) -> int:
    reply = ask(address, "Cmd", pb.Command(cmd=COUNT_COMMAND).SerializeToString())
    return int(pb.StringReply.FromString(reply).string_reply)


def _segments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--segments", type=int, default=NODES, help="of the collection (%(default)s)")


if __name__ == "__main__":
    benchmark("hedging", "Hedged calls against slow nodes", GOALS, measure, Defaults(3, 5.0, _segments))
