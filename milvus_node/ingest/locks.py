"""Who may change a collection at the same time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded

LONGEST_BUILD_S = 6 * 3600.0
LONGEST_CHANGE_S = 300.0
"""How long to wait where the caller has no deadline: for the index definition, and for the others."""


class CollectionLocks:
    """Three locks a collection, always taken in this order; a thread may take one again that it has.

    * ``definition``: the index definition and what takes as long as a build. Inserts, flushes and searches go on.
    * ``structure``: which segments there are: flush, the commit of a merge, compaction or build, drop.
    * ``gate``: held while a row enters the log, so that a dropped collection's successor never gets its rows.

    Each raises DeadlineExceeded where it does not come free in time; nothing was done then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._definition: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._structure: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._gate: dict[str, threading.RLock] = defaultdict(threading.RLock)

    def definition(self, collection: str, deadline: Deadline | None = None) -> AbstractContextManager[None]:
        """One change of the index definition at a time."""
        lock = self._of(self._definition, collection)
        return _held(lock, deadline, LONGEST_BUILD_S, f"the index of {collection}")

    def structure(self, collection: str, deadline: Deadline | None = None) -> AbstractContextManager[None]:
        """One change of the set of segments at a time."""
        lock = self._of(self._structure, collection)
        return _held(lock, deadline, LONGEST_CHANGE_S, f"the set of segments of {collection}")

    def gate(self, collection: str, deadline: Deadline | None = None) -> AbstractContextManager[None]:
        """Rows enter the log while this is free."""
        lock = self._of(self._gate, collection)
        return _held(lock, deadline, LONGEST_CHANGE_S, f"the way of rows into {collection}")

    @contextmanager
    def definition_if_free(self, collection: str) -> Iterator[bool]:
        """Hold ``definition`` for the block where nobody else does; tells whether."""
        lock = self._of(self._definition, collection)
        held = lock.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                lock.release()

    def _of(self, locks: dict[str, threading.RLock], collection: str) -> threading.RLock:
        with self._lock:
            return locks[collection]


@contextmanager
def _held(lock: threading.RLock, deadline: Deadline | None, longest_s: float, what: str) -> Iterator[None]:
    within = (deadline or Deadline.never()).earlier(longest_s)
    if not lock.acquire(timeout=within.remaining()):
        raise DeadlineExceeded(f"{what} is still being changed by another call; nothing was done, try again later")
    try:
        yield
    finally:
        lock.release()
