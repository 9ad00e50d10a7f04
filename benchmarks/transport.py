"""What a call costs in each transport: server side by h2load, client side by a channel, and with nginx in front.

    python benchmarks/transport.py [--rounds 3] [--seconds 2]

Small is a search of one query for ten neighbours (551 bytes to 142), large one of 100 for 100 (52 KB to 130 KB); 16
calls are under way on one connection. The server has core 0, the load core 1. Rounds of the transports take turns; the
figures are medians. Only ratios within one run mean something: absolute ones are the machine's.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from contextlib import ExitStack

from transport_load import Figures, caller, h2load, median_of, nginx, server

from mishards.transport.choice import TRANSPORTS

SHAPES = {"small": (551, 142), "large": (52_000, 130_000)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    with_h2load = shutil.which("h2load") is not None
    if not with_h2load:
        print("h2load is not installed (Debian: nghttp2-client): only the client side is measured")
    for shape, (request_bytes, reply_bytes) in SHAPES.items():
        found: dict[tuple[str, str], list[Figures]] = defaultdict(list)
        with ExitStack() as stack:
            servers = {name: stack.enter_context(server(name, reply_bytes)) for name in TRANSPORTS}
            fronts = {}
            if with_h2load and shutil.which("nginx"):
                fronts = {name: stack.enter_context(nginx(servers[name][1])) for name in TRANSPORTS}
            for _ in range(options.rounds):
                for name, (pid, address) in servers.items():
                    if with_h2load:
                        figures = h2load(pid, address, bytes(request_bytes), streams=16, seconds=options.seconds)
                        found["server", name].append(figures)
                    found["client", name].append(caller(name, servers["h2"][1], request_bytes, options.seconds))
                    if name in fronts:
                        front = fronts[name][1]
                        figures = h2load(pid, front, bytes(request_bytes), streams=16, seconds=options.seconds)
                        found["behind nginx", name].append(figures)
        _print(shape, {key: median_of(figures) for key, figures in found.items()})


def _print(shape: str, figures: dict[tuple[str, str], Figures]) -> None:
    print(f"{shape:6} {'side':14} {'transport':10} {'calls/s':>9} {'us CPU/call':>12} {'p50 ms':>8}")
    for (side, name), one in sorted(figures.items()):
        p50 = f"{one.p50_ms:8.3f}" if one.p50_ms else f"{'-':>8}"
        print(f"{'':6} {side:14} {name:10} {one.qps:9.0f} {one.cpu_us:12.1f} {p50}")
    for side in sorted({side for side, _ in figures}):
        ours, theirs = figures[side, "h2"], figures[side, "grpcio"]
        cpu = theirs.cpu_us / ours.cpu_us
        print(f"{'':6} {side:14} h2 / grpcio: {ours.qps / theirs.qps:.1f} x the calls, 1/{cpu:.1f} of the CPU a call")


if __name__ == "__main__":
    main()
