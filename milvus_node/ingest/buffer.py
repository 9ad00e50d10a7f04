"""Accepted rows and deletes that no segment has yet.

``CollectionBuffer`` is pure: operations of one collection in log order. ``InsertBuffer`` holds one for each collection
and is safe from any thread. Nothing here is visible to searches.

Invariants: a delete takes away only rows that were inserted before it; ``first_lsn`` and ``last_lsn`` bound the log
records that would be lost with the buffer.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
RowBytes = NDArray[np.uint8]
"""uint8[n, bytes of a vector]: vectors as they are stored."""


@dataclass(slots=True)
class _Batch:
    ids: Ids
    vectors: RowBytes
    dead: NDArray[np.bool_] | None = None

    def kill(self, ids: Ids) -> None:
        hit = np.isin(self.ids, ids)
        if hit.any():
            self.dead = hit if self.dead is None else self.dead | hit


class CollectionBuffer:
    """Unflushed operations of one collection, applied in log order."""

    def __init__(self) -> None:
        self._batches: dict[str, list[_Batch]] = defaultdict(list)
        self._deletes: dict[str, list[Ids]] = defaultdict(list)
        self.first_lsn: int | None = None
        self.last_lsn = 0
        self.nbytes = 0

    def insert(self, table_id: str, ids: Ids, vectors: RowBytes, lsn: int) -> None:
        """Add rows; the arrays are kept and must not be changed any more."""
        self._batches[table_id].append(_Batch(ids, vectors))
        self.nbytes += ids.nbytes + vectors.nbytes
        self._note(lsn)

    def delete(self, table_ids: Sequence[str], ids: Ids, lsn: int) -> None:
        """Take rows of these ids away at once, and remember the ids for segments that are on disk."""
        for table_id in table_ids:
            for batch in self._batches.get(table_id, ()):
                batch.kill(ids)
            self._deletes[table_id].append(ids)
            self.nbytes += ids.nbytes
        self._note(lsn)

    def _note(self, lsn: int) -> None:
        self.first_lsn = lsn if self.first_lsn is None else min(self.first_lsn, lsn)
        self.last_lsn = max(self.last_lsn, lsn)

    @property
    def is_empty(self) -> bool:
        """Is there nothing to flush?"""
        return self.first_lsn is None

    @property
    def table_ids(self) -> tuple[str, ...]:
        """Partitions with rows here."""
        return tuple(self._batches)

    def rows(self, table_id: str) -> tuple[Ids, RowBytes]:
        """Live rows of a partition in the order of insertion: int64[n] and uint8[n, row bytes]."""
        ids, vectors = [], []
        for batch in self._batches.get(table_id, ()):
            keep = slice(None) if batch.dead is None else ~batch.dead
            ids.append(batch.ids[keep])
            vectors.append(batch.vectors[keep])
        if not ids:
            return np.empty(0, np.int64), np.empty((0, 0), np.uint8)
        if len(ids) == 1:
            return ids[0], vectors[0]
        return np.concatenate(ids), np.concatenate(vectors)

    def deletes(self) -> dict[str, Ids]:
        """Ids to delete from segments on disk, sorted and unique, by partition."""
        return {table_id: np.unique(np.concatenate(ids)) for table_id, ids in self._deletes.items() if ids}


class InsertBuffer:
    """The buffers of all collections, by collection name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, CollectionBuffer] = {}
        self._flushing: dict[str, CollectionBuffer] = {}

    def insert(self, collection: str, table_id: str, ids: Ids, vectors: RowBytes, lsn: int) -> None:
        """Apply a logged insert."""
        with self._lock:
            self._of(collection).insert(table_id, ids, vectors, lsn)

    def delete(self, collection: str, table_ids: Sequence[str], ids: Ids, lsn: int) -> None:
        """Apply a logged delete."""
        with self._lock:
            self._of(collection).delete(table_ids, ids, lsn)

    def _of(self, collection: str) -> CollectionBuffer:
        return self._waiting.setdefault(collection, CollectionBuffer())

    def take(self, collection: str) -> CollectionBuffer | None:
        """Hand a buffer over to the one flush of this collection; ``settled`` ends it.

        A buffer whose flush failed is handed out again, unchanged, before what came since.
        """
        with self._lock:
            taken = self._flushing.get(collection) or self._waiting.pop(collection, None)
            if taken is not None:
                self._flushing[collection] = taken
            return taken

    def settled(self, collection: str) -> None:
        """What was taken is on disk and in the catalog."""
        with self._lock:
            del self._flushing[collection]

    def discard(self, collection: str) -> None:
        """Forget a dropped collection's rows."""
        with self._lock:
            self._waiting.pop(collection, None)
            self._flushing.pop(collection, None)

    def pending(self) -> list[str]:
        """Collections with something to flush."""
        with self._lock:
            return list(self._flushing.keys() | self._waiting.keys())

    @property
    def nbytes(self) -> int:
        """Bytes of rows and ids held, those being flushed included."""
        with self._lock:
            return sum(b.nbytes for held in (self._waiting, self._flushing) for b in held.values())

    def first_lsn(self) -> int | None:
        """The oldest log record that is still needed; None when none is."""
        with self._lock:
            held = [*self._waiting.values(), *self._flushing.values()]
        return min((b.first_lsn for b in held if b.first_lsn is not None), default=None)
