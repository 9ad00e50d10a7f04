"""Has a lease run out? Judged by watching its record, so that no two clocks need to agree.

A record that a candidate sees unchanged for the whole lease time, on the candidate's own clock and counted from after
it was first read, has not been renewed since: its holder, who counts from before it renewed, gave up earlier.
"""

from __future__ import annotations

from collections.abc import Hashable

_SHORTEST_S = 0.02


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

    def pause_s(self, now: float, renew_s: float) -> float:
        """Seconds to the next look that is worth it: half a renewal, or fewer where the record may run out sooner."""
        return min(renew_s / 2, max(_SHORTEST_S, self._since + self._lease_s - now))
