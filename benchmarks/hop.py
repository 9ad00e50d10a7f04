"""What the hop through a router costs, beside the hop through nginx ``grpc_pass``: one query, one node, one segment.

    python benchmarks/hop.py [--rounds 3] [--seconds 2] [--without-grpcio]

The node is a fake that answers every search at once with ten hits; router, nginx and node are processes of their own.
Router and nginx have core 0 in turn; node and load share core 1. ``p50`` is with one call under way, ``calls/s`` and
CPU (of the router or nginx) with 16. Rounds take turns; figures are medians, and only their ratios mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from node_load import clustered, create, fill, node, search_request
from transport_load import Figures, h2load, median_of, nginx, process

from mishards.topk import TopK
from mishards.transport.api import Call, ServerOptions
from mishards.transport.choice import TRANSPORTS, transport_of
from mishards.transport.loop import run_on
from mishards.wire.extensions import CAPABILITIES_COMMAND, REVISION, STRICT_FILES
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status
from mishards.wire.results import encode_result

_ANSWERS = {CAPABILITIES_COMMAND: json.dumps({"capabilities": [REVISION, STRICT_FILES]}), "status": "OK"}


async def _fake(transport: str) -> None:
    """A node that has found before it was asked."""
    hits = encode_result(TopK(np.arange(10, dtype=np.int64)[None] + 2**60, np.arange(10, dtype=np.float32)[None]))

    async def answer(call: Call) -> bytes:
        if call.method != "Cmd":
            return hits
        said = _ANSWERS.get(pb.Command.FromString(call.request).cmd, "1.1.0")
        return pb.StringReply(status=ok_status(), string_reply=said).SerializeToString()

    server = transport_of(transport).server(answer, ServerOptions("127.0.0.1:0"))
    print("ready", await server.start(), flush=True)
    await asyncio.Event().wait()
    await server.stop(0)


@contextmanager
def router(folder: Path, address: str, transport: str) -> Iterator[tuple[int, str]]:
    """A router on core 0 before one node."""
    settings = {
        "network": {"address": "127.0.0.1:0", "http_address": "", "transport": transport},
        "metadata": {"uri": f"sqlite:///{folder}/db/meta.sqlite"},
        "discovery": {"uri": f"static://?writable={address}"},
        "log": {"level": "warning"},
    }
    path = folder / f"{transport}.yaml"
    path.write_text(json.dumps(settings))
    with process([sys.executable, "-m", "mishards", "serve", "--config", str(path)], 0) as started:
        yield started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--without-grpcio", action="store_true")
    options = parser.parse_args()
    transports = [name for name in TRANSPORTS if name != "grpcio" or not options.without_grpcio]
    found: dict[str, list[tuple[Figures, Figures]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        rows = clustered(1000, 1)
        with node(folder) as client:
            create(client, "c")
            fill(client, "c", rows)
        body = search_request("c", rows[:1], 10, '{"nprobe": 1}')
        fake = stack.enter_context(process([sys.executable, __file__, "fake"], 1))
        targets = {"direct": fake, "nginx": stack.enter_context(nginx(fake[1]))}
        for transport in transports:
            targets[f"router {transport}"] = stack.enter_context(router(folder, fake[1], transport))
        for _ in range(options.rounds):
            for target, (pid, address) in targets.items():
                alone = h2load(pid, address, body, streams=1, seconds=options.seconds)
                found[target].append((alone, h2load(pid, address, body, streams=16, seconds=options.seconds)))
    _print({target: (median_of([a for a, _ in f]), median_of([b for _, b in f])) for target, f in found.items()})


def _print(figures: dict[str, tuple[Figures, Figures]]) -> None:
    direct, (nginx_alone, nginx_many) = figures["direct"][0].p50_ms, figures["nginx"]
    print(f"{'':15} {'p50 ms':>8} {'added':>8} {'calls/s':>9} {'us CPU/call':>12}")
    for target, (alone, many) in figures.items():
        print(f"{target:15} {alone.p50_ms:8.3f} {alone.p50_ms - direct:8.3f} {many.qps:9.0f} {many.cpu_us:12.1f}")
    for target, (alone, many) in figures.items():
        if target.startswith("router"):
            added = (alone.p50_ms - direct) / max(nginx_alone.p50_ms - direct, 1e-3)
            print(
                f"{target} / nginx: {added:.2f} x the added p50, {many.qps / nginx_many.qps:.2f} x the calls/s, "
                f"{many.cpu_us / nginx_many.cpu_us:.2f} x the CPU a call"
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["fake"]:
        run_on("auto", _fake("h2"))
    else:
        main()
