"""How long the merge of a search's replies takes, beside a naive merge in the same run.

    python benchmarks/merge.py [--parts 8] [--rounds 5] [--settled-heap]

``bytes`` is from encoded replies to the encoded answer, ``arrays`` the pure merge of decoded ones. ``naive`` parses
with protobuf, sorts each row's (distance, id) pairs in Python and encodes with protobuf; the ratio is naive / bytes.
All are microseconds of CPU in one thread, the median of interleaved rounds. ``clock`` ids are those that a server
makes (nine bytes each), ``small`` ids are below a million and of different sizes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from mishards.topk import TopK, merge
from mishards.wire.merge import merge_results
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.replies import ok_status
from mishards.wire.results import encode_result

SHAPES = ((1, 10), (100, 100), (1000, 100), (1, 16384))
"""Queries and topk."""

SETTLING_BYTES = 31 << 20
"""glibc hands freed memory back to the system, and faults it in again, until a block of such a size was freed."""


def answers(parts: int, rows: int, width: int, ids: str) -> list[TopK]:
    """Make full answers of ``parts`` nodes with distances in order."""
    random = np.random.default_rng(rows * width)
    low, high = (1_600_000_000_000_000_000, 1_800_000_000_000_000_000) if ids == "clock" else (0, 1_000_000)
    return [
        TopK(
            random.integers(low, high, (rows, width)),
            np.sort(random.random((rows, width), dtype=np.float32), axis=1),
        )
        for _ in range(parts)
    ]


def naive_merge(replies: Sequence[bytes], topk: int) -> bytes:
    """Merge row by row, hit by hit; ties go to the smaller id."""
    parts = [TopKQueryResult.FromString(reply) for reply in replies]
    rows = parts[0].row_num
    merged = TopKQueryResult(status=ok_status(), row_num=rows)
    lists = [(list(part.distances), list(part.ids), len(part.ids) // rows) for part in parts]
    for row in range(rows):
        hits: list[tuple[float, int]] = []
        for distances, ids, width in lists:
            span = slice(row * width, (row + 1) * width)
            hits += zip(distances[span], ids[span], strict=True)
        hits.sort()
        merged.distances.extend([distance for distance, _ in hits[:topk]])
        merged.ids.extend([found for _, found in hits[:topk]])
    return merged.SerializeToString()


def cpu_us(call: Callable[[], object]) -> float:
    """Time one call, as the mean over about 20 ms."""
    started = time.thread_time()
    call()
    repeats = max(1, int(0.02 / max(time.thread_time() - started, 1e-6)))
    started = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - started) / repeats * 1e6


def measure(parts: Sequence[TopK], topk: int, rounds: int) -> tuple[float, float, float]:
    """Return the times of bytes to bytes, of arrays, and of the naive merge."""
    replies = [encode_result(part) for part in parts]
    if merge_results(replies, topk, larger_is_nearer=False) != naive_merge(replies, topk):
        raise SystemExit(f"top {topk}: the merges differ")
    times = [
        (
            cpu_us(lambda: merge_results(replies, topk, larger_is_nearer=False)),
            cpu_us(lambda: merge(parts, topk, larger_is_nearer=False)),
            cpu_us(lambda: naive_merge(replies, topk)),
        )
        for _ in range(rounds)
    ]
    fast, arrays, naive = (statistics.median(column) for column in zip(*times, strict=True))
    return fast, arrays, naive


def main() -> None:
    """Print one line a shape."""
    parser = argparse.ArgumentParser(description="Time the merge of search replies.")
    parser.add_argument("--parts", type=int, default=8, help="replies to merge")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median is shown")
    parser.add_argument("--settled-heap", action="store_true", help="free a large block first, as a busy server has")
    options = parser.parse_args()
    if options.settled_heap:
        bytearray(SETTLING_BYTES)
    print(f"{'ids':<6} {'queries x topk':>15} {'bytes us':>10} {'arrays us':>10} {'naive us':>10} {'ratio':>7}")
    for ids in ("clock", "small"):
        for rows, topk in SHAPES:
            fast, arrays, naive = measure(answers(options.parts, rows, topk, ids), topk, options.rounds)
            shape = f"{rows} x {topk}"
            print(f"{ids:<6} {shape:>15} {fast:>10.1f} {arrays:>10.1f} {naive:>10.1f} {naive / fast:>6.1f}x")


if __name__ == "__main__":
    main()
