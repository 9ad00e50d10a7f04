"""No election: the one candidate leads, and for ever. What keeps a second one away is not this module's business."""

from __future__ import annotations

import math
import threading

from mishards.election.api import Candidate, Leadership


class UncontestedLeadership:
    """Leads until it resigns."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    @property
    def proven_until(self) -> float:
        """For ever, until it is resigned."""
        return 0.0 if self._ended.is_set() else math.inf

    def wait_proven(self, timeout_s: float) -> bool:
        """Has it not been resigned?"""
        return not self._ended.is_set()

    def wait_lost(self, timeout_s: float) -> bool:
        """Wait until it is resigned, but no longer than this."""
        return self._ended.wait(timeout_s)

    def resign(self) -> None:
        """End it."""
        self._ended.set()


class UncontestedElector:
    """Elects its candidate at every attempt."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate

    @property
    def leader(self) -> Candidate | None:
        """The candidate."""
        return self._candidate

    def attempt(self) -> Leadership | None:
        """Lead."""
        return UncontestedLeadership()

    def wait(self, timeout_s: float) -> None:
        """Return at once: the next attempt will succeed."""

    def close(self) -> None:
        """Nothing is held."""
