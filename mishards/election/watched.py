"""Has a lease run out? Judged by watching its record, so that no two clocks need to agree.

A record that a candidate sees unchanged for the whole lease time, on the candidate's own clock and counted from after
it was first read, has not been renewed since: its holder, who counts from before it renewed, gave up earlier.
"""

from __future__ import annotations

from collections.abc import Hashable


class Watched:
    """Remembers since when a record stands as it does; pure."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._record: Hashable = None
        self._since = float("inf")

    def has_run_out(self, record: Hashable, now: float) -> bool:
        """Take note of the record, which was read before ``now``; has it stood unchanged for the lease time?"""
        if record != self._record:
            self._record, self._since = record, now
        return now - self._since >= self._lease_s

    def left_s(self, now: float) -> float:
        """Seconds until the record that was seen last may have run out."""
        return max(0.0, self._since + self._lease_s - now)
