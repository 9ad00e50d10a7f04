"""What the benchmarks wrote, read again: one value for each, in the order of the suite."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goals import Goal, Result


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark's."""

    name: str
    title: str
    stopped: str
    """Why it did not come to its end: ``skipped: …`` or ``failed: …``."""
    tiny: bool
    results: tuple[Result, ...]
    unmeasured: tuple[Goal, ...]
    figures: Mapping[str, Mapping[str, float]]
    """Subject → quantity → median of the rounds."""
    shares: Sequence[float]
    curves: Mapping[str, Sequence[float]]
    notes: Sequence[str]
    setup: Mapping[str, Any]

    @property
    def quantities(self) -> list[str]:
        """The columns of the figures."""
        return list(dict.fromkeys(quantity for row in self.figures.values() for quantity in row))


def read(folder: Path, names: Sequence[str]) -> list[Report]:
    """Read those that are there."""
    paths = [folder / f"{name}.json" for name in names]
    return [_report(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def _report(written: Mapping[str, Any]) -> Report:
    figures = {
        subject: {quantity: statistics.median(values) for quantity, values in row.items()}
        for subject, row in written["figures"].items()
    }
    return Report(
        name=written["name"],
        title=written["title"],
        stopped=written["stopped"],
        tiny=written["tiny"],
        results=tuple(Result(Goal(**one["goal"]), tuple(one["rounds"])) for one in written["results"]),
        unmeasured=tuple(Goal(**goal) for goal in written["unmeasured"]),
        figures=figures,
        shares=written["curves"]["shares"],
        curves=written["curves"]["ms"],
        notes=written["notes"],
        setup=written["setup"],
    )
