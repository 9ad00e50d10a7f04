"""Who may change a collection at the same time."""

from __future__ import annotations

import threading
from collections import defaultdict


class CollectionLocks:
    """Three locks a collection, always taken in this order.

    * ``definition``: the index definition and what takes as long as a build. Inserts, flushes and searches go on.
    * ``structure``: which segments there are: flush, the commit of a merge, compaction or build, drop.
    * ``gate``: held while a row enters the log, so that a dropped collection's successor never gets its rows.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._definition: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._structure: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._gate: dict[str, threading.RLock] = defaultdict(threading.RLock)

    def definition(self, collection: str) -> threading.RLock:
        """One change of the index definition at a time."""
        with self._lock:
            return self._definition[collection]

    def structure(self, collection: str) -> threading.RLock:
        """One change of the set of segments at a time."""
        with self._lock:
            return self._structure[collection]

    def gate(self, collection: str) -> threading.RLock:
        """Rows enter the log while this is free."""
        with self._lock:
            return self._gate[collection]
