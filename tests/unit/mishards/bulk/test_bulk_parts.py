"""The small parts of bulk work: progress, the exact truth, Ctrl-C, the load generator."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mishards.bulk import bench, progress
from mishards.bulk.bench import BenchOptions
from mishards.bulk.interrupt import stop_signal
from mishards.bulk.truth import Truth
from mishards.errors import NodeUnavailable
from mishards.kinds import MetricType


def test_a_terminal_shows_a_bar_with_rows_and_rate() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress.shown(console, "importing x", 1000) as advance:
        advance(400)
        advance(600)
    said = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    assert "importing x" in said
    assert "1000/1000" in said
    assert "rows/s" in said


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1000, "importing x: 400 of 1,000 rows, 40 rows/s, 15 s left\n"),
        (None, "importing x: 400 rows, 40 rows/s\n"),
    ],
)
def test_elsewhere_there_is_a_line_now_and_then(
    total: int | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), width=120)
    with progress.shown(console, "importing x", total) as advance:
        advance(100)
        now[0] = 10.0
        advance(300)
        now[0] = 11.0
        advance(100)
    said = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    assert said == expected


def test_where_json_is_wanted_nothing_is_shown() -> None:
    console = Console(file=io.StringIO())
    with progress.shown(console, "importing x", 10, quiet=True) as advance:
        advance(10)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]  # the file given above


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 12), st.sampled_from([MetricType.L2, MetricType.IP]))
def test_the_truth_of_a_stream_is_that_of_the_whole(seed: int, rows: int, k: int, metric: MetricType) -> None:
    random = np.random.default_rng(seed)
    vectors, queries = random.normal(size=(rows, 3)).astype(np.float32), random.normal(size=(2, 3)).astype(np.float32)
    truth = Truth(queries, k, metric)
    for part in np.array_split(np.arange(rows), 4):
        truth.add(part, vectors[part])
    products = queries.astype(float) @ vectors.astype(float).T
    distances = ((queries[:, None].astype(float) - vectors[None].astype(float)) ** 2).sum(axis=2)
    nearest = np.argsort(-products if metric is MetricType.IP else distances, axis=1)[:, :k].tolist()
    assert truth.recall(nearest) == 1
    assert truth.recall([[], nearest[1]]) == 0.5
    assert truth.recall([[row + rows for row in found] for found in nearest]) == 0


def test_the_recall_of_an_empty_collection_is_1() -> None:
    assert Truth(np.zeros((2, 3), np.float32), 5, MetricType.L2).recall([[], []]) == 1


async def test_the_first_signal_asks_and_the_second_cancels() -> None:
    before, asked = signal.getsignal(signal.SIGTERM), asyncio.Event()

    async def work() -> None:
        with stop_signal() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.wait()
            asked.set()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait([task], timeout=20)
    assert (asked.is_set(), task.cancelled()) == (True, True)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_calls_that_fail_are_counted_by_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, stop = bench._Calls(), asyncio.Event()

    class Failing:
        async def __aenter__(self) -> Failing:
            return self

        async def __aexit__(self, *_: object) -> None:
            """Nothing is open."""

        async def raw(self, _method: str, request: bytes) -> bytes:
            if request == b"bad":
                raise NodeUnavailable("h:1", "away")
            if calls.errors and calls.times_s:
                stop.set()
            await asyncio.sleep(0)
            return b""

    def failing(_address: str) -> Any:
        return Failing()

    monkeypatch.setattr(bench, "connected", failing)
    monkeypatch.setattr(bench, "_ERROR_PAUSE_S", 0)
    await bench._for_a_while([bench._client("h:1", [b"good", b"bad"], calls) for _ in range(2)], 20, stop, calls.ended)
    seen = calls.measured(BenchOptions("c", "h:1", nq=2), 2.0, None)
    assert seen.errors == seen.error_texts["node h:1: away"] > 0
    assert seen.queries_per_s == 2 * seen.calls_per_s == seen.calls
    nothing = bench._Calls().measured(BenchOptions("c", "h:1"), 1.0, None)
    assert (nothing.calls, nothing.p50_ms, nothing.max_ms) == (0, None, None)
