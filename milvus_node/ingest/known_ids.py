"""Which segments an id is certainly not in, so that a delete reads few files of ids."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

CAPACITY_BYTES = 128 << 20


class KnownIds:
    """The lower halves of the ids of segments, 4 bytes a row; least recently used goes first. Safe from any thread.

    A segment's ids never change, and a segment id is never given twice.
    """

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._halves: OrderedDict[str, NDArray[np.uint32]] = OrderedDict()
        self._nbytes = 0

    def learn(self, segment_id: str, ids: Ids) -> None:
        """Remember the ids of a segment."""
        halves = np.unique(ids.astype(np.uint32))
        with self._lock:
            if segment_id not in self._halves:
                self._halves[segment_id] = halves
                self._nbytes += halves.nbytes
            while self._nbytes > self._capacity_bytes:
                _, gone = self._halves.popitem(last=False)
                self._nbytes -= gone.nbytes

    def exclude(self, segment_id: str, ids: Ids) -> bool:
        """Is certainly none of ``ids`` in the segment? False where that is not known."""
        with self._lock:
            halves = self._halves.get(segment_id)
            if halves is None:
                return False
            self._halves.move_to_end(segment_id)
        wanted = ids.astype(np.uint32)
        places = np.searchsorted(halves, wanted)
        places[places == len(halves)] = 0
        return not len(halves) or not bool((halves[places] == wanted).any())
