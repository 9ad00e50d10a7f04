"""Bounds on what a peer may make this end hold or do: large messages one after the other, and frames of no use.

Pure; the clock is the caller's.
"""

from __future__ import annotations

from collections import deque


class Reservations:
    """Which messages larger than their stream's window may come in at once.

    One that is larger than the whole budget goes alone. Messages wait in the order of asking; each that goes can be
    received to its end without any other, so none waits for ever.
    """

    __slots__ = ("_budget", "_held", "_total", "_waiting")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: dict[int, int] = {}
        self._total = 0
        self._waiting: deque[tuple[int, int]] = deque()

    def holds(self, stream_id: int) -> bool:
        """May the stream's message come?"""
        return stream_id in self._held

    def ask(self, stream_id: int, size: int) -> bool:
        """Reserve for a message of ``size`` bytes; False when it has to wait for its turn."""
        self._waiting.append((stream_id, size))
        return stream_id in self._admitted()

    def release(self, stream_id: int) -> list[int]:
        """The message is no longer held here; return the streams whose messages may come now."""
        size = self._held.pop(stream_id, None)
        if size is None:
            self._waiting = deque(entry for entry in self._waiting if entry[0] != stream_id)
        else:
            self._total -= size
        return self._admitted()

    def _admitted(self) -> list[int]:
        admitted = []
        while self._waiting and (not self._held or self._total + self._waiting[0][1] <= self._budget):
            stream_id, size = self._waiting.popleft()
            self._held[stream_id] = size
            self._total += size
            admitted.append(stream_id)
        return admitted


class Allowance:
    """How many frames of no use a peer may send: a burst, so many more a second, and one more for each call served."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = self._left = burst
        self._per_s = per_s
        self._at = now

    def spend(self, now: float) -> bool:
        """Count one; False when there were too many."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - 1
        self._at = now
        return self._left >= 0

    def earn(self) -> None:
        """Count a call that was served."""
        self._left += 1
