"""Whoever keeps account is told how long each piece of work on segments took. Knows no metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Worked = Callable[[str, float, bool], None]
"""Told of each piece of work: its kind, seconds, and whether it ended without an error. From any thread."""


class Tasks:
    """Measures flushes, merges, compactions and index builds."""

    def __init__(self, worked: Worked = lambda *_: None) -> None:
        self._worked = worked

    @contextmanager
    def timed(self, task: str) -> Iterator[None]:
        """Measure a block."""
        began, done = time.monotonic(), False
        try:
            yield
            done = True
        finally:
            self._worked(task, time.monotonic() - began, done)
