"""When to ask a second replica although the first has not failed: after a latency percentile, within a budget.

Pure but for what it remembers; knows no clock and no node.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mishards.options import about

_REMEMBERED: Final = 512
"""Latencies that the percentile is taken of."""
_ENOUGH: Final = 32
"""Fewer of them say nothing."""
_TICK_S: Final = 0.001
"""A loop may count time in whole milliseconds: without one more, all calls that take about as long would be late."""


@dataclass(frozen=True, slots=True)
class HedgeOptions:
    """Hedged requests."""

    enabled: bool = field(default=False, metadata=about("ask a second replica when the first takes long"))
    percentile: float = field(
        default=0.95, metadata=about("share of recent calls that were quicker", minimum=0.5, maximum=0.9999)
    )
    budget: float = field(
        default=0.05, metadata=about("most second calls, as a share of first calls", minimum=0.0, maximum=1.0)
    )
    min_delay_ms: float = field(default=1.0, metadata=about("least wait before a second call", minimum=0.0))


class Hedging:
    """Remembers how long calls take, and how many second calls were made. Belongs to the event loop."""

    def __init__(self, options: HedgeOptions) -> None:
        self._options = options
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._allowance = 0.0
        self.made = 0

    @property
    def enabled(self) -> bool:
        """Shall there be second calls at all?"""
        return self._options.enabled

    def reconfigure(self, options: HedgeOptions) -> None:
        """Go by other options from now on; while hedging is off nothing is remembered."""
        self._options = options
        if not options.enabled:
            self._recent.clear()
            self._sorted.clear()

    def delay_s(self) -> float | None:
        """Seconds to wait before a second call; None when there shall be none."""
        if not self._options.enabled or len(self._sorted) < _ENOUGH:
            return None
        at = min(len(self._sorted) - 1, int(self._options.percentile * len(self._sorted)))
        return max(self._sorted[at], self._options.min_delay_ms / 1000) + _TICK_S

    def called(self) -> None:
        """Count a first call."""
        self._allowance = min(self._allowance + self._options.budget, 10.0)

    def spend(self, calls: int = 1) -> bool:
        """May so many second calls be made now? If so, they count."""
        if self._allowance < calls:
            return False
        self._allowance -= calls
        self.made += calls
        return True

    def took(self, seconds: float) -> None:
        """Remember how long a call took."""
        if not self._options.enabled:
            return
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        if len(self._recent) > _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
