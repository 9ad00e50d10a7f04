"""Times and names as the tables hold them."""

from __future__ import annotations

import threading
import time


def microseconds() -> int:
    """Return the time since the epoch, the unit of ``created_on`` and ``updated_time``."""
    return time.time_ns() // 1000


def date_number() -> int:
    """Return today as ``TableFiles.date`` has it: years since 1900, months since January, days, in local time."""
    today = time.localtime()
    return (today.tm_year - 1900) * 10_000 + (today.tm_mon - 1) * 100 + today.tm_mday


class Names:
    """Numbers that are microseconds × 1000 and always rise: ids of vectors, names of segments, files, partitions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def take(self, count: int = 1) -> int:
        """Reserve ``count`` successive numbers and return the first."""
        with self._lock:
            first = max(microseconds() * 1000, self._next)
            self._next = first + max(1000, count)
        return first
