"""Goals, rounds and what is written of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import machine
import pytest
from goals import Goal, Result, with_unit
from hypothesis import given
from hypothesis import strategies as st
from results import read
from run import Run

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"

FAST = Goal("fast", "ours / theirs", "<=", 1.25, stretch=1.0)
MANY = Goal("many", "calls of ours / of theirs", ">=", 2.0)

PROGRAM = """
import sys
sys.path.insert(0, {benchmarks!r})
from goals import Goal
from machine import Skipped
from run import Defaults, Run, benchmark

def measure(run: Run) -> None:
    for number in run.rounds():
        run.figure("router", "p50 ms", 2.0 * number)
        run.latencies("router", [1.0, 2.0, 9.0])
        run.measured("fast", float(number))
    run.note("Said once.")
    run.note("Said once.")
    {then}

GOALS = (Goal("fast", "ours / theirs", "<=", 2.0), Goal("late", "never reached", ">=", 1.0))
benchmark("sample", "A sample", GOALS, measure, Defaults(rounds=2))
"""


def run_program(folder: Path, then: str, *flags: str) -> subprocess.CompletedProcess[str]:
    program = folder / "sample.py"
    program.write_text(PROGRAM.format(benchmarks=str(BENCHMARKS), then=then))
    command = [sys.executable, str(program), "--out", str(folder), "--tiny", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7), st.sampled_from([FAST, MANY]))
def test_the_verdict_is_about_the_median_of_the_rounds(rounds: list[float], goal: Goal) -> None:
    result = Result(goal, tuple(rounds))
    median = statistics.median(rounds)
    assert result.met == (median <= 1.25 if goal is FAST else median >= 2.0)
    assert (result.verdict == "missed") == (not result.met)


def test_a_stretch_that_is_reached_is_said_and_one_that_is_not_is_no_miss() -> None:
    assert Result(FAST, (0.9,)).verdict == "met, and the stretch"
    assert Result(FAST, (1.1,)).verdict == "met"
    assert Result(FAST, (1.3,)).verdict == "missed"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0512, "0.051 x"), (0.974, "0.97 x"), (28.13, "28.1 x"), (704.4, "704 x"), (41003, "41 003 x")],
)
def test_figures_have_three_digits_or_so(value: float, text: str) -> None:
    assert with_unit(value, "x") == text


def test_results_come_in_the_order_of_the_goals_and_only_where_something_was_measured() -> None:
    run = Run("sample", "A sample", (FAST, MANY), Namespace(rounds=2, seconds=0.1, tiny=True))
    for number in run.rounds():
        run.measured("many", number)
    assert [(result.goal.name, result.rounds) for result in run.results()] == [("many", (1, 2))]


def test_a_run_writes_its_rounds_and_what_it_did_not_measure(tmp_path: Path) -> None:
    done = run_program(tmp_path, "pass", "--rounds", "3")
    assert done.returncode == 0, done.stderr
    (report,) = read(tmp_path, ["sample", "nobody"])
    assert [result.rounds for result in report.results] == [(1.0, 2.0, 3.0)]
    assert report.figures == {"router": {"p50 ms": 4.0}}
    assert [goal.name for goal in report.unmeasured] == ["late"]
    assert report.notes == ["Said once."]
    assert (report.curves["router"][0], report.curves["router"][-1]) == (1.0, 9.0)
    assert report.setup["rounds"] == 3
    assert len(report.setup["load"]) == 3


def test_a_run_that_lacks_something_says_what_and_is_no_failure(tmp_path: Path) -> None:
    done = run_program(tmp_path, 'raise Skipped("no h2load")')
    assert done.returncode == 0, done.stderr
    assert "[sample] skipped: no h2load" in done.stdout
    assert json.loads((tmp_path / "sample.json").read_text())["stopped"] == "skipped: no h2load"


def test_a_run_that_fails_keeps_what_it_had_measured_and_says_so(tmp_path: Path) -> None:
    done = run_program(tmp_path, 'raise OSError("the disk is full")')
    assert done.returncode == 1
    (report,) = read(tmp_path, ["sample"])
    assert report.stopped == "failed: the disk is full"
    assert [result.rounds for result in report.results] == [(1.0,)]


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(machine.Skipped, match=r"no-such-load is not installed \(Debian: load-tools\)"):
        machine.program("no-such-load", "load-tools")


def test_waiting_for_quiet_ends_on_a_machine_that_is_never_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "busy_share", lambda: 0.9)
    assert machine.wait_until_quiet(0.0) == 0.9
