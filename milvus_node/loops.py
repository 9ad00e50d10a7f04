"""Background loops: each has a name, an owner that starts and stops it, and survives any single failure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mishards.errors import MishardsError

log = logging.getLogger(__name__)


class Loop:
    """Runs ``step`` every ``interval_s`` seconds on a thread of its own until it is stopped."""

    def __init__(self, name: str, interval_s: float, step: Callable[[], None]) -> None:
        self.name = name
        self._interval_s = interval_s
        self._step = step
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failures = 0
        self.last_success = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Was it started, and has it not ended?"""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def hurry(self) -> None:
        """Take the next step now."""
        self._hurry.set()

    def stop(self, wait_s: float = 10.0) -> None:
        """End after the step under way; returns once it ended or ``wait_s`` seconds passed. May be repeated."""
        self._stopping.set()
        self._hurry.set()
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        while True:
            self._hurry.wait(self._interval_s)
            self._hurry.clear()
            if self._stopping.is_set():
                return
            try:
                self._step()
            except MishardsError as error:
                self.failures += 1
                log.warning("%s: %s", self.name, error)
            except Exception:
                self.failures += 1
                log.exception("%s failed in a way that is a bug", self.name)
            else:
                self.last_success = time.monotonic()
