"""Whether what programs hold stays flat over a long run: pure, over samples that somebody took.

Judged is each life of a process, from a start to its end, whose second half is long enough: the slope over that half,
the median of the slopes between any two samples of it (Theil and Sen), so that neither a fault nor the warm-up counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from harness.resources import Usage


@dataclass(frozen=True, slots=True)
class Sample:
    """What a program held; ``at`` in seconds since the run began."""

    at: float
    name: str
    pid: int
    usage: Usage


@dataclass(frozen=True)
class Rise:
    """By how much something may rise over the second half of a life; ``resident`` in bytes or as a share of it."""

    threads: float = 4
    descriptors: float = 8
    resident: float = 16 << 20
    resident_share: float = 0.1
    least_s: float = 240.0
    """The shortest half that is judged."""


@dataclass(frozen=True)
class Trend:
    """What one quantity did over the second half of a life."""

    name: str
    pid: int
    what: str
    seconds: float
    middle: float
    rise: float
    allowed: float

    def __str__(self) -> str:
        scale, unit = (1 << 20, " MB") if self.what == "resident" else (1, "")
        return (
            f"{self.name} (pid {self.pid}): {self.what} {self.middle / scale:.0f}{unit}, "
            f"{self.rise / scale:+.1f}{unit} in {self.seconds / 60:.0f} min, allowed {self.allowed / scale:.1f}{unit}"
        )

    @property
    def is_flat(self) -> bool:
        """Does it rise by no more than is allowed? It may fall."""
        return self.rise <= self.allowed


def trends(samples: Sequence[Sample], allowed: Rise | None = None) -> list[Trend]:
    """The trends of every life that is long enough to be judged, by program."""
    allowed = allowed or Rise()
    lives: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.name, sample.pid].append(sample)
    return [trend for life in lives.values() for trend in _of_life(life, allowed)]


def _of_life(life: Sequence[Sample], allowed: Rise) -> Iterator[Trend]:
    middle_s = (life[0].at + life[-1].at) / 2
    half = [sample for sample in life if sample.at >= middle_s]
    seconds = half[-1].at - half[0].at
    if seconds < allowed.least_s or len(half) < 3:
        return
    times = np.array([sample.at for sample in half])
    for field in fields(Usage):
        values = np.array([getattr(sample.usage, field.name) for sample in half], np.float64)
        middle = float(np.median(values))
        limit = float(getattr(allowed, field.name))
        if field.name == "resident":
            limit = max(limit, allowed.resident_share * middle)
        yield Trend(life[0].name, life[0].pid, field.name, seconds, middle, _slope(times, values) * seconds, limit)


def _slope(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    first, second = np.triu_indices(len(times), 1)
    slopes: NDArray[np.float64] = (values[second] - values[first]) / (times[second] - times[first])
    return float(np.median(slopes))
