"""Time left: made once at the edge, passed down with the call."""

from __future__ import annotations

import math
import time
from typing import Final

from mishards.errors import DeadlineExceeded


class Deadline:
    """A point on the monotonic clock, in seconds; ``inf`` means none."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at: Final = at

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> Deadline:
        """No deadline."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Seconds left, never negative; ``inf`` without a deadline."""
        return max(0.0, self.at - time.monotonic())

    def timeout(self) -> float | None:
        """Seconds left in the form that asyncio and threading take: None without a deadline."""
        return None if self.at == math.inf else self.remaining()

    def earlier(self, seconds: float) -> Deadline:
        """This deadline, or ``seconds`` from now where that is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def check(self, doing: str) -> None:
        """Raise DeadlineExceeded when no time is left for ``doing``."""
        if self.at <= time.monotonic():
            raise DeadlineExceeded(f"deadline passed before {doing}")
