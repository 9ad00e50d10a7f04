"""How long the merge of a search's replies takes, beside a naive merge in the same run.

    python benchmarks/merge.py [--parts 8] [--rounds 5]

``bytes`` is from encoded replies to the encoded answer, ``arrays`` the pure merge of decoded ones. ``naive`` parses
with protobuf, sorts each row's (distance, id) pairs in Python and encodes with protobuf; the ratio is naive / bytes.
All are microseconds of CPU in one thread, after a large block was freed as in a busy server. ``clock`` ids are those
that a server makes (nine bytes each), ``small`` ids are below a million and of different sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from goals import Goal
from run import Defaults, Run, benchmark

from mishards.topk import TopK, merge
from mishards.wire.merge import merge_results
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.replies import ok_status
from mishards.wire.results import encode_result

SHAPES = ((1, 10), (100, 100), (1000, 100), (1, 16384))
"""Queries and topk."""

REASON = (
    "Two thirds of it is the merge of the arrays, in the library; an absolute figure of one machine, and near the goal."
)
GOALS = tuple(
    Goal(f"merge-{rows}x{topk}", f"merging 8 replies of {rows} x {topk}, bytes to bytes", "<=", us, "us", reason=REASON)
    for (rows, topk), us in zip(SHAPES, (35, 700, 8000, 1200), strict=True)
)

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


def columns(parts: Sequence[TopK], topk: int) -> tuple[float, float, float]:
    """Return the times of bytes to bytes, of arrays, and of the naive merge."""
    replies = [encode_result(part) for part in parts]
    if merge_results(replies, topk, larger_is_nearer=False) != naive_merge(replies, topk):
        raise SystemExit(f"top {topk}: the merges differ")
    return (
        cpu_us(lambda: merge_results(replies, topk, larger_is_nearer=False)),
        cpu_us(lambda: merge(parts, topk, larger_is_nearer=False)),
        cpu_us(lambda: naive_merge(replies, topk)),
    )


def measure(run: Run) -> None:
    """Every shape with both kinds of ids, in turns."""
    bytearray(SETTLING_BYTES)
    shapes = SHAPES[:1] if run.tiny else SHAPES
    for _ in run.rounds():
        for ids in ("clock", "small"):
            for rows, topk in shapes:
                fast, arrays, naive = columns(answers(run.options.parts, rows, topk, ids), topk)
                subject = f"{rows} x {topk}, {ids} ids"
                for quantity, value in (("bytes us", fast), ("arrays us", arrays), ("naive us", naive)):
                    run.figure(subject, quantity, value)
                run.figure(subject, "naive / bytes", naive / fast)
                if ids == "clock":
                    run.measured(f"merge-{rows}x{topk}", fast)


def _parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=8, help="replies to merge (8, as the goals say)")


if __name__ == "__main__":
    benchmark("merge", "Merging the replies of eight nodes", GOALS, measure, Defaults(5, 0.02, _parts))
