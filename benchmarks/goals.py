"""What a benchmark promises and what it found: values, no I/O, no clock.

A goal is a comparison that every round measures anew, mostly a ratio of two things measured in turns in one run. The
verdict is about the median of the rounds.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be at least, or at most, so large."""

    name: str
    """Short and unique in the whole suite: ``hop-p50``."""
    title: str
    """What is compared with what, for a reader who has not seen the benchmark."""
    comparison: Literal["<=", ">="]
    target: float
    unit: str = "x"
    """``x`` where it is a ratio."""
    stretch: float | None = None
    """What would be better still; missing it is no miss."""
    reason: str = ""
    """Why it is missed, where it is: shown beside a miss only."""

    def reached(self, value: float, target: float | None = None) -> bool:
        """Whether a value is on the right side of the target."""
        bound = self.target if target is None else target
        return value <= bound if self.comparison == "<=" else value >= bound


@dataclass(frozen=True, slots=True)
class Result:
    """What the rounds of one goal measured, in their order; at least one."""

    goal: Goal
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool:
        """Whether the median reaches the target."""
        return self.goal.reached(self.median)

    @property
    def verdict(self) -> str:
        """``missed``, ``met``, or ``met, and the stretch``."""
        if not self.met:
            return "missed"
        stretched = self.goal.stretch is not None and self.goal.reached(self.median, self.goal.stretch)
        return "met, and the stretch" if stretched else "met"


def with_unit(value: float, unit: str) -> str:
    """Write a figure in three digits or so: ``0.97 x``, ``28.1 us``, ``4 100 /s``."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f} {unit}".replace(",", " ").rstrip()
