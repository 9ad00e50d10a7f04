"""Generated ids: of rows, segments, files and partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_PER_MICROSECOND = 1000


class IdGenerator:
    """Gives ids of the form microseconds since the epoch x 1000 + position, strictly rising. Safe from any thread.

    A batch of more than 1000 takes further microseconds, and the next call starts behind it, so ids rise even where the
    clock stands still or goes back.
    """

    def __init__(self, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000, *, epoch: int = 0) -> None:
        """``epoch``: names of two writers with neighbouring epochs never meet, whatever their clocks say."""
        self._clock_us = clock_us
        self._mark = epoch % _PER_MICROSECOND
        self._lock = threading.Lock()
        self._next_us = 0
        self._began_us = 0

    def batch(self, count: int) -> NDArray[np.int64]:
        """``count`` ids, int64[count], rising."""
        spans = -(-count // _PER_MICROSECOND)
        with self._lock:
            first = max(self._clock_us(), self._next_us)
            self._next_us = first + spans
        return np.arange(first * _PER_MICROSECOND, first * _PER_MICROSECOND + count, dtype=np.int64)

    def one(self) -> str:
        """One id as decimal text: a segment's, a file's or a partition's name."""
        return str(int(self.batch(1)[0]) + self._mark)

    def begin_term(self) -> None:
        """Count what is given from now on as this generator's own; ``not_below`` knows all that was there."""
        with self._lock:
            self._next_us = self._began_us = max(self._clock_us(), self._next_us)

    def gave(self, name: str) -> bool:
        """Was this name, which is in use, given since the term began?"""
        return name.isdecimal() and int(name) // _PER_MICROSECOND >= self._began_us

    def not_below(self, taken: int) -> None:
        """Give nothing at or below ``taken`` any more; for names that are on disk already."""
        with self._lock:
            self._next_us = max(self._next_us, taken // _PER_MICROSECOND + 1)
