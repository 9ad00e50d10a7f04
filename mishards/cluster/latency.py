"""How long a node takes to answer, lately; pure."""

from __future__ import annotations

import math
from typing import Final

_NEWEST: Final = 0.2
"""How much the newest call counts in the moving average."""
_HALF_LIFE_S: Final = 1.0


class Latency:
    """A moving average that fades while nothing is measured, so that a node that was slow once is tried again."""

    __slots__ = ("_at", "average_s")

    def __init__(self) -> None:
        self.average_s = 0.0
        """As it was when the last call was answered; 0 before the first."""
        self._at = 0.0

    def measured(self, seconds: float, now: float) -> None:
        """A call has taken so long; ``now`` is monotonic."""
        known = self.recent_s(now)
        self.average_s = known + _NEWEST * (seconds - known)
        self._at = now

    def recent_s(self, now: float) -> float:
        """What is left of the average at ``now``."""
        return self.average_s * math.pow(0.5, (now - self._at) / _HALF_LIFE_S)
