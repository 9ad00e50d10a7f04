"""What was served over the last minutes, in steps of seconds: how many calls, how many failed, how long they took.

Latencies are counted in buckets whose bounds grow by a tenth, so a quantile is at most that much too high.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mishards.errors import Code
from mishards.logs.calls import Served
from mishards.query.slow import SEARCHES

STEP_S: Final = 2.0
STEPS: Final = 300
_RECENT_STEPS: Final = 15
_WRITES: Final = frozenset({"Insert", "DeleteByID"})
_GROWTH: Final = math.log(1.1)
_LEAST_MS: Final = 0.05


@dataclass(slots=True)
class _Step:
    number: int
    searches: int = 0
    writes: int = 0
    others: int = 0
    failed: int = 0
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Point:
    """A step. ``at`` is its begin, in seconds since 1970; quantiles are of searches, None where there were none."""

    at: float
    searches_per_s: float
    writes_per_s: float
    others_per_s: float
    failed_per_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Each step from the oldest to the last whole one; ``recent`` is the last ``recent_s`` seconds as one."""

    step_s: float
    recent_s: float
    recent: Point
    points: tuple[Point, ...]


class TrafficLog:
    """Counts calls as they end. Belongs to one thread."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=STEPS + 1)

    def ended(self, served: Served) -> None:
        """Count a call that has just ended; what probes ask is no traffic."""
        if served.call.method != "Cmd":
            self.count(served.call.method, served.code == Code.SUCCESS, served.seconds, time.time())

    def count(self, method: str, succeeded: bool, seconds: float, now: float) -> None:
        """Count a call that ended ``now``, in seconds since 1970."""
        number = int(now // STEP_S)
        if not self._steps or self._steps[-1].number < number:
            self._steps.append(_Step(number))
        step = self._steps[-1]
        step.failed += not succeeded
        if method in SEARCHES:
            step.searches += 1
            step.buckets[_bucket(seconds * 1000)] += 1
        elif method in _WRITES:
            step.writes += 1
        else:
            step.others += 1

    def seen(self, now: float) -> Traffic:
        """What was served up to ``now``."""
        last = int(now // STEP_S) - 1
        known = {step.number: step for step in self._steps}
        steps = [known.get(number, _Step(number)) for number in range(last - STEPS + 1, last + 1)]
        recent = steps[-_RECENT_STEPS:]
        points = tuple(_point([step]) for step in steps)
        return Traffic(STEP_S, STEP_S * len(recent), _point(recent), points)


def _point(steps: Sequence[_Step]) -> Point:
    seconds = STEP_S * len(steps)
    buckets: Counter[int] = Counter()
    for step in steps:
        buckets.update(step.buckets)
    return Point(
        at=steps[0].number * STEP_S,
        searches_per_s=_per_second((step.searches for step in steps), seconds),
        writes_per_s=_per_second((step.writes for step in steps), seconds),
        others_per_s=_per_second((step.others for step in steps), seconds),
        failed_per_s=_per_second((step.failed for step in steps), seconds),
        p50_ms=quantile_ms(buckets, 0.5),
        p99_ms=quantile_ms(buckets, 0.99),
    )


def _per_second(counts: Iterable[int], seconds: float) -> float:
    return round(sum(counts) / seconds, 3)


def _bucket(milliseconds: float) -> int:
    return math.ceil(math.log(max(milliseconds, _LEAST_MS) / _LEAST_MS) / _GROWTH)


def quantile_ms(buckets: Counter[int], share: float) -> float | None:
    """The upper bound of the bucket in which a share of the values is reached; None without values."""
    wanted, found = share * buckets.total(), 0
    for number in sorted(buckets):
        found += buckets[number]
        if found >= wanted:
            return float(f"{_LEAST_MS * math.exp(number * _GROWTH):.3g}")
    return None
