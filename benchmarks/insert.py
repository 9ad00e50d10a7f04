"""Durable inserts beside ``np.save`` and fsync of the same vectors, in turns on the same disk.

    python benchmarks/insert.py [--rounds 5]

One client sends batches of rows of 128 floats, one at a time, to a node with its defaults: it answers when they are in
the log on disk, and flushes and merges segments meanwhile. Four clients at once show what waiting for the disk costs.
Requests are made before.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from goals import Goal
from node_load import Client, Floats, clustered, create, insert_request, node
from run import Defaults, Run, benchmark

from mishards.deadline import Deadline
from mishards.transport.choice import transport_of
from mishards.transport.loop import run_on
from mishards.wire.protos import milvus_pb2 as pb

BATCHES = (1_000, 10_000, 100_000)
CLIENTS = 4
MOST_ROWS = 400_000
"""Of one round, so that a round is short."""

GOALS = (
    Goal(
        "insert-durable",
        "rows inserted a second, 10,000 a call, one client / np.save and fsync of the same vectors",
        ">=",
        0.3,
        reason="The rows cross a socket, are checked, summed and logged, on the client's cores. Rounds vary by a "
        "factor of two, with the disk's time for a sync.",
    ),
)


def measure(run: Run) -> None:
    """Every size in turns: the file, one client, four clients."""
    batches = (1_000,) if run.tiny else BATCHES
    with tempfile.TemporaryDirectory() as name, node(Path(name) / "node") as client:
        rows = {batch: clustered(batch, 3) for batch in batches}
        for batch in batches:
            create(client, f"rows{batch}")
        for _ in run.rounds():
            for batch in batches:
                _round(run, Path(name), client, rows[batch])


def _round(run: Run, folder: Path, client: Client, rows: Floats) -> None:
    batch, calls = len(rows), 2 if run.tiny else max(4, min(20, MOST_ROWS // len(rows)))
    request = insert_request(f"rows{batch}", rows)
    before = _saves(folder, rows, calls)
    alone = run_on("auto", _inserts(client.address, request, 1, calls))
    many = run_on("auto", _inserts(client.address, request, CLIENTS, max(2, calls // CLIENTS)))
    plain_s = statistics.median([*before, *_saves(folder, rows, calls)])
    subject = f"{batch} rows a call"
    run.figure(subject, "np.save rows/s", batch / plain_s)
    run.figure(subject, "1 client rows/s", batch / alone)
    run.figure(subject, "ratio", plain_s / alone)
    run.figure(subject, "4 clients rows/s", batch / many)
    run.figure(subject, "ratio of 4", plain_s / many)
    if batch == 10_000 or run.tiny:
        run.measured("insert-durable", plain_s / alone)


def _saves(folder: Path, rows: Floats, calls: int) -> list[float]:
    """Seconds of each time."""
    took = []
    for _ in range(calls):
        start = time.perf_counter()
        with (folder / "plain.npy").open("wb") as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        took.append(time.perf_counter() - start)
    return took


async def _inserts(address: str, request: bytes, clients: int, calls: int) -> float:
    """Seconds of a batch: of one client the median, of several the whole time by the batches."""
    took: list[float] = []

    async def insert() -> None:
        channel = transport_of("h2").channel(address)
        for number in range(calls + 1):
            start = time.perf_counter()
            reply = await channel.call("Insert", request, deadline=Deadline.after(120))
            if number:  # the first one connects
                took.append(time.perf_counter() - start)
            status = pb.VectorIds.FromString(reply).status
            if status.error_code:
                raise SystemExit(status.reason)
        await channel.close()

    began = time.perf_counter()
    await asyncio.gather(*(insert() for _ in range(clients)))
    passed = time.perf_counter() - began
    return statistics.median(took) if clients == 1 else passed / (clients * (calls + 1))


if __name__ == "__main__":
    benchmark("insert", "Durable inserts beside a plain file", GOALS, measure, Defaults(rounds=5))
