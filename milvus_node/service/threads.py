"""Threads in reserve: one that has nothing to do rests for a while where it can be woken at little cost.

To wake a thread of an executor takes several times as long, and with few callers that is paid for each call.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

_LINGER_S: Final = 1.0
"""A thread that rests longer goes back to the executor, so that a process without work has none that wakes up."""


class Threads:
    """Threads that do ``work`` each time one is woken. What belongs to the lock of their owner says so."""

    def __init__(self, name: str, most: int, lock: threading.Lock, work: Callable[[], None]) -> None:
        """``work`` must call ``rest`` once, as the last thing it does under the lock, and must not raise."""
        self._executor = ThreadPoolExecutor(most, thread_name_prefix=name)
        self._lock = lock
        self._work = work
        self._resting: list[queue.SimpleQueue[None]] = []
        self._of_this_thread = threading.local()
        self._closed = False

    def wake(self) -> None:
        """Let one more thread do the work, the one that has not rested for long; under the lock."""
        if self._resting:
            self._resting.pop().put(None)
        else:
            self._executor.submit(self._run)

    def rest(self) -> None:
        """The work of this thread is done, and what comes from now on wakes one; under the lock."""
        if not self._closed:
            self._resting.append(self._of_this_thread.bell)

    def close(self) -> None:
        """Let go of the threads that rest, and of the others when they have ended their work; under the lock."""
        self._closed = True
        while self._resting:
            self.wake()
        self._executor.shutdown(wait=False)

    def _run(self) -> None:
        bell = self._of_this_thread.bell = queue.SimpleQueue()
        self._work()
        while self._was_woken(bell):
            self._work()

    def _was_woken(self, bell: queue.SimpleQueue[None]) -> bool:
        """Rest; False where this thread is to go."""
        if self._closed:
            return False
        try:
            bell.get(timeout=_LINGER_S)
        except queue.Empty:
            with self._lock:
                if bell in self._resting:
                    self._resting.remove(bell)
                    return False
            bell.get()  # it was rung just now
        return not self._closed
