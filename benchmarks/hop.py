"""What the hop through a router costs, beside the hop through nginx ``grpc_pass``: one query, one node, one segment.

    python benchmarks/hop.py [--rounds 3] [--seconds 2] [--with-grpcio]

The node is a stand-in that answers every search at once with ten hits, on our transport behind the router and an nginx
behind nginx, so that each has a peer that suits it; what is added is added to a call of that stand-in. All are
processes of their own. The router is the finished product: catalog, metrics and failover are on. Router and nginx have
core 0 in turn; node and load share core 1. ``p50`` is with one client; calls, and CPU of the router or nginx, with 16.
Calls a second of a core are calls for each second of CPU that router or nginx used.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from goals import Goal
from node_load import clustered, search_request
from routers import catalog, expect_hits, router, static
from run import Defaults, Run, benchmark
from stand_in import nginx_node, our_nodes, replies
from transport_load import Figures, h2load, nginx

from mishards.transport.choice import TRANSPORTS

CLIENTS = 16
TOPK = 10

GOALS = (
    Goal(
        "hop-p50",
        "median latency added by the router / by nginx grpc_pass, one query, one node, one client",
        "<=",
        1.25,
        stretch=1.0,
        reason="nginx passes bytes on; the router finds snapshot and route, and counts each search, in compiled code. "
        "With one client it rests in between, and does it each time with caches that hold something else.",
    ),
    Goal(
        "hop-qps",
        "queries a second of a core, router / nginx grpc_pass, one node, 16 clients",
        ">=",
        1.3,
        reason="As above: some 20 us a search are the router's own compiled Python, the rest event loop and sockets.",
    ),
    Goal(
        "hop-calls",
        "queries a second, router / nginx grpc_pass, each with a core to itself, one node, 16 clients",
        ">=",
        1.3,
        reason="As above: 16 connections are 16 reads and writes of sockets a turn, besides the work in Python.",
    ),
)


def measure(run: Run) -> None:
    """Direct, through nginx, and through a router on each transport, in turns."""
    transports = [name for name in TRANSPORTS if name != "grpcio" or run.options.with_grpcio]
    body = search_request("c", clustered(1, 1), TOPK, '{"nprobe": 1}')
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        metadata, _ = catalog(folder / "db", "c", 1)
        answer = replies(1, 1, TOPK)
        node = stack.enter_context(our_nodes(answer))
        address = node.addresses[0]
        targets = {"node": (node.pid, address), "node of nginx": stack.enter_context(nginx_node(answer[0]))}
        targets["nginx"] = stack.enter_context(nginx(targets["node of nginx"][1]))
        for transport in transports:
            settings = {"network": {"transport": transport}}
            started = stack.enter_context(router(folder, metadata, static(address), settings=settings))
            targets["router" if transport == "h2" else f"router, {transport}"] = started
        for _, front in targets.values():
            expect_hits(front, body, TOPK)
        for _ in run.rounds():
            _round(run, targets, body)


def _round(run: Run, targets: dict[str, tuple[int, str]], body: bytes) -> None:
    p50, added, many = {}, {}, {}
    for target, (pid, address) in targets.items():
        alone = h2load(pid, address, body, streams=1, seconds=run.seconds)
        many[target] = h2load(pid, address, body, streams=1, clients=CLIENTS, seconds=run.seconds)
        p50[target] = alone.p50_ms
        added[target] = alone.p50_ms - p50["node of nginx" if "nginx" in target else "node"]
        run.latencies(f"{target}, 1 client", alone.took_ms)
        _figures(run, target, alone.p50_ms, added[target], many[target])
    # What a measurement cannot tell from nothing is a microsecond.
    run.measured("hop-p50", max(added["router"], 1e-3) / max(added["nginx"], 1e-3))
    run.measured("hop-qps", many["router"].qps_per_core / many["nginx"].qps_per_core)
    run.measured("hop-calls", many["router"].qps / many["nginx"].qps)


def _figures(run: Run, target: str, p50_ms: float, added_ms: float, many: Figures) -> None:
    run.figure(target, "p50 ms", p50_ms)
    run.figure(target, "added ms", added_ms)
    run.figure(target, "calls/s", many.qps)
    run.figure(target, "us CPU/call", many.cpu_us)


def _transports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--with-grpcio", action="store_true", help="measure the router on grpcio too")
    parser.add_argument("--without-grpcio", action="store_true", help=argparse.SUPPRESS)


if __name__ == "__main__":
    benchmark("hop", "What a hop through the router costs", GOALS, measure, Defaults(5, 1.5, _transports))
