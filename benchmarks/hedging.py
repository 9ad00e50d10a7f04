"""What hedging does to the slowest searches where 2 % of the nodes' calls take 25 times as long, and what it costs.

    python benchmarks/hedging.py [--rounds 3] [--seconds 5]

Eight stand-ins take 2 ms for a search, and 50 ms for 2 % of them, chosen by chance; each segment has two replicas. Two
routers stand before the same nodes, one with hedging and one without, and take turns. How many calls are extra is
counted by the nodes: those that come with hedging, for each that comes without, a search.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from callers import Called, call
from goals import Goal
from node_load import clustered, search_request
from routers import Settings, ask, catalog, expect_hits, router, static
from run import Defaults, Run, benchmark
from stand_in import COUNT_COMMAND, Pace, replies, slow

from mishards.wire.protos import milvus_pb2 as pb

NODES = 8
SEGMENTS = 64
REPLICAS = 2
CALLERS = 4
TOPK = 10
PACE = Pace(usual_ms=2.0, slow_ms=50.0, slow_share=0.02)
WARM_SEARCHES = 50

GOALS = (
    Goal("hedging-p99", "99th percentile of latency where 2 % of node calls are slow, hedged / not", "<=", 0.2),
    Goal("hedging-calls", "calls of nodes that hedging adds, of all", "<=", 5.0, "%"),
)


def measure(run: Run) -> None:
    """Without and with, in turns."""
    body = search_request("c", clustered(1, 1), TOPK, "{}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        metadata, _ = catalog(folder / "db", "c", SEGMENTS)
        # The first one is the writable node, which the catalog leaves without work.
        nodes = stack.enter_context(slow(replies(NODES + 1, 1, TOPK), PACE))
        discovery = static(nodes.addresses[0], nodes.addresses[1:])
        addresses = {}
        for subject, hedge in (("without hedging", False), ("with hedging", True)):
            settings: Settings = {"routing": {"replicas": REPLICAS}, "search": {"hedge": {"enabled": hedge}}}
            started = router(folder, metadata, discovery, settings=settings)
            _, addresses[subject] = stack.enter_context(started)
            for _ in range(WARM_SEARCHES):  # so that it knows how long nodes take
                expect_hits(addresses[subject], body, TOPK)
        for _ in run.rounds():
            _round(run, addresses, body, nodes.addresses[0])


def _round(run: Run, addresses: dict[str, str], body: bytes, counts: str) -> None:
    called, calls = {}, {}
    for subject, address in addresses.items():
        before = _count(counts)
        called[subject] = call(address, "Search", [body], CALLERS, run.seconds)
        calls[subject] = (_count(counts) - before) / called[subject].calls
        _figures(run, subject, called[subject], calls[subject])
    plain, hedged = called.values()
    without, with_hedging = calls.values()
    run.measured("hedging-p99", hedged.p99_ms / plain.p99_ms)
    run.measured("hedging-calls", 100 * (with_hedging / without - 1))


def _figures(run: Run, subject: str, called: Called, calls: float) -> None:
    run.latencies(subject, called.took_ms)
    run.figure(subject, "p50 ms", called.p50_ms)
    run.figure(subject, "p99 ms", called.p99_ms)
    run.figure(subject, "searches/s", called.per_s)
    run.figure(subject, "node calls/search", calls)


def _count(address: str) -> int:
    reply = ask(address, "Cmd", pb.Command(cmd=COUNT_COMMAND).SerializeToString())
    return int(pb.StringReply.FromString(reply).string_reply)


if __name__ == "__main__":
    benchmark("hedging", "Hedged calls against slow nodes", GOALS, measure, Defaults(3, 5.0))
