"""One run of one benchmark: its rounds, what they measure, what it prints, and the JSON that the report is made of.

A benchmark is a program of this form; whatever is compared is measured in turns, within each round:

    GOALS = (Goal("hop-p50", "added p50 of the router / of nginx", "<=", 1.25),)

    def measure(run: Run) -> None:
        for _ in run.rounds():
            ours, theirs = …
            run.figure("router", "p50 ms", ours)  # of each round; medians are shown
            run.measured("hop-p50", ours / theirs)

    if __name__ == "__main__":
        benchmark("hop", "What a hop costs", GOALS, measure, Defaults(rounds=3, seconds=2))

``--rounds``, ``--seconds``, ``--tiny`` and ``--out`` are understood by every one; more come by ``Defaults.arguments``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
from goals import Goal, Result, with_unit

OUT = Path(__file__).resolve().parents[1] / "build" / "bench"

SHARES = (*(percent / 100 for percent in range(0, 95, 5)), 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
"""The quantiles that are kept of latencies."""


@dataclass(frozen=True)
class Defaults:
    """What a run does when nothing else is asked for."""

    rounds: int = 3
    seconds: float = 2.0
    """Of one measurement within a round."""
    arguments: Callable[[argparse.ArgumentParser], object] | None = None
    """Adds arguments of the benchmark's own."""


@dataclass
class Run:
    """What is measured, as it comes; handed to a benchmark's ``measure``."""

    name: str
    title: str
    goals: Sequence[Goal]
    options: argparse.Namespace
    """``rounds``, ``seconds``, ``tiny``, and the benchmark's own."""
    ratios: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def tiny(self) -> bool:
        """Whether the figures matter to nobody: everything as small as it works."""
        return bool(self.options.tiny)

    @property
    def seconds(self) -> float:
        """How long one measurement takes."""
        return float(self.options.seconds)

    def rounds(self) -> Iterator[int]:
        """Count the rounds; each waits for the machine to be quiet, a little."""
        for number in range(1, self.options.rounds + 1):
            self.busy.append(0.0 if self.tiny else machine.wait_until_quiet())
            self.loads.append(machine.load_average())
            self.say(f"round {number} of {self.options.rounds}, load {self.loads[-1]:.2f}")
            yield number

    def measured(self, goal: str, value: float) -> None:
        """Keep what a round measured of a goal, given by its name."""
        known = next(known for known in self.goals if known.name == goal)
        self.ratios.setdefault(goal, []).append(value)
        self.say(f"  {known.title}: {with_unit(value, known.unit)}")

    def figure(self, subject: str, quantity: str, value: float) -> None:
        """Keep a figure of a round: who, what (with its unit), how much."""
        self.figures.setdefault(subject, {}).setdefault(quantity, []).append(value)

    def latencies(self, subject: str, milliseconds: Sequence[float]) -> None:
        """Keep the distribution of many latencies; the last round's is shown."""
        self.curves[subject] = [float(value) for value in np.quantile(np.asarray(milliseconds, float), SHARES)]

    def note(self, text: str) -> None:
        """Keep what a reader of the figures must know."""
        if text not in self.notes:
            self.notes.append(text)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{self.name}] {text}", flush=True)

    def results(self) -> list[Result]:
        """What was measured of each goal, in the goals' order."""
        return [Result(goal, tuple(self.ratios[goal.name])) for goal in self.goals if goal.name in self.ratios]


def benchmark(
    name: str, title: str, goals: Sequence[Goal], measure: Callable[[Run], None], defaults: Defaults | None = None
) -> None:
    """Run as a program: read the arguments, measure, print, write ``OUT/NAME.json``."""
    run = Run(name, title, goals, _arguments(title, defaults or Defaults()))
    started, stopped = time.monotonic(), ""
    try:
        measure(run)
    except machine.Skipped as reason:
        stopped = f"skipped: {reason}"
        run.say(stopped)
    except BaseException as fault:
        _write(run, f"failed: {str(fault) or type(fault).__name__}", time.monotonic() - started)
        raise
    _print_figures(run)
    for result in run.results():
        goal = result.goal
        target = f"{goal.comparison} {with_unit(goal.target, goal.unit)}"
        run.say(f"{result.verdict:>6}: {goal.title}: {with_unit(result.median, goal.unit)} ({target})")
    _write(run, stopped, time.monotonic() - started)


def _arguments(title: str, defaults: Defaults) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__ or title, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help=f"of everything, in turns ({defaults.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of one measurement ({defaults.seconds})")
    parser.add_argument("--tiny", action="store_true", help="as small as it works; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the JSON (%(default)s)")
    if defaults.arguments:
        defaults.arguments(parser)
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.tiny else defaults.rounds)
    given.seconds = given.seconds or (0.2 if given.tiny else defaults.seconds)
    return given


def _print_figures(run: Run) -> None:
    quantities = list(dict.fromkeys(quantity for row in run.figures.values() for quantity in row))
    cells = [["", *quantities]]
    for subject, row in run.figures.items():
        shown = [with_unit(statistics.median(row[name]), "") if name in row else "-" for name in quantities]
        cells.append([subject, *shown])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for subject, *rest in cells if run.figures else ():
        print(subject.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)))


def _write(run: Run, stopped: str, seconds: float) -> None:
    written: dict[str, Any] = {
        "name": run.name,
        "title": run.title,
        "stopped": stopped,
        "tiny": run.tiny,
        "results": [{"goal": asdict(result.goal), "rounds": result.rounds} for result in run.results()],
        "unmeasured": [asdict(goal) for goal in run.goals if goal.name not in run.ratios],
        "figures": run.figures,
        "curves": {"shares": SHARES, "ms": run.curves},
        "notes": run.notes,
        "setup": {
            **machine.describe(),
            "rounds": run.options.rounds,
            "load": run.loads,
            "busy": run.busy,
            "took_s": seconds,
            "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        },
    }
    run.options.out.mkdir(parents=True, exist_ok=True)
    (run.options.out / f"{run.name}.json").write_text(json.dumps(written, indent=1) + "\n")
