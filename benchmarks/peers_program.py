"""What the program of every peer does: load rows, choose how far to search, answer orders.

    PYTHON peers_NAME.py FOLDER PORT

Runs in the environment of that peer, with numpy and the standard library alone. ``FOLDER`` holds ``rows.npy``,
``queries.npy`` and ``truth.npy``, the ids of the nearest ten. Orders are JSON lines on standard input: ``{"recall":
0.98}`` chooses the smallest setting that reaches that, ``{"callers": 16, "seconds": 2, "nq": 100}`` runs so many
threads, each with a connection of its own. Answers are JSON lines on standard output.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

TOPK = 10
Floats = NDArray[np.float32]
Search = Callable[[Floats], "Sequence[Sequence[int]] | NDArray[np.int64]"]
"""Finds the ids near each of some queries, in one call where the peer has such a call."""


class Peer(Protocol):
    """A server, and how it is filled and asked."""

    settings: Sequence[int]
    """How far it may search, ascending: lists that are probed, or candidates that are kept."""

    def load(self, rows: Floats) -> None:
        """Store the rows under their numbers, and build the index."""
        ...

    def searcher(self, setting: int) -> Search:
        """A new connection; used by one thread."""
        ...

    def close(self) -> None:
        """Stop the server."""
        ...


def main(made: Callable[[Path, int], Peer]) -> None:
    """Be the program of a peer that is made of a folder and a port."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a server prints is no answer
    folder = Path(sys.argv[1])
    peer = made(folder, int(sys.argv[2]))
    try:
        _obey(peer, folder, answers)
    finally:
        peer.close()


def _obey(peer: Peer, folder: Path, answers: IO[str]) -> None:
    def answer(**said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    start = time.perf_counter()
    peer.load(np.load(folder / "rows.npy"))
    answer(load_s=time.perf_counter() - start)
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    setting, recall = 0, 0.0
    for line in sys.stdin:
        order = json.loads(line)
        if "recall" in order:
            for setting in peer.settings:
                recall = _recall(peer.searcher(setting), queries, truth)
                if recall >= order["recall"]:
                    break
            answer(setting=setting, recall=recall)
        else:
            answer(qps=_qps(peer, setting, queries, order))


def _recall(search: Search, queries: Floats, truth: NDArray[np.int64]) -> float:
    """The share of the nearest that are found."""
    hits = 0
    for start in range(0, len(queries), 100):
        found = search(queries[start : start + 100])
        for ids, true in zip(found, truth[start : start + 100].tolist(), strict=True):
            hits += len(set(map(int, ids)) & set(true))
    return hits / truth.size


def _qps(peer: Peer, setting: int, queries: Floats, order: dict[str, Any]) -> float:
    callers, nq, done, faults = order["callers"], order["nq"], [0] * order["callers"], []
    ready, spans = threading.Barrier(callers), [(0.0, 0.0)] * callers

    def caller(number: int) -> None:
        try:
            search, at = peer.searcher(setting), number
            search(queries[:nq])
            ready.wait(120)
            began = time.perf_counter()
            while time.perf_counter() - began < order["seconds"]:
                first = at * nq % (len(queries) - nq + 1)
                search(queries[first : first + nq])
                done[number] += nq
                at += callers
            spans[number] = began, time.perf_counter()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the measurement
            faults.append(error)
            ready.abort()

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return sum(done) / (max(end for _, end in spans) - min(begin for begin, _ in spans))
