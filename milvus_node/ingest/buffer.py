"""Accepted rows and deletes that no segment has yet.

``CollectionBuffer`` is pure: operations of one collection in log order. ``InsertBuffer`` holds one for each collection
and is safe from any thread. Searches see what is here only where they ask for a ``GrowingView`` of it.

Invariants: a delete takes away only rows that were inserted before it; ``first_lsn`` and ``last_lsn`` bound the log
records that would be lost with the buffer.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
RowBytes = NDArray[np.uint8]
"""uint8[n, bytes of a vector]: vectors as they are stored."""


@dataclass(slots=True)
class _Batch:
    lsn: int
    ids: Ids
    vectors: RowBytes
    dead: NDArray[np.bool_] | None = None

    def live(self) -> tuple[Ids, RowBytes]:
        keep = slice(None) if self.dead is None else ~self.dead
        return self.ids[keep], self.vectors[keep]

    def kill(self, ids: Ids) -> None:
        hit = np.isin(self.ids, ids)
        if hit.any():
            self.dead = hit if self.dead is None else self.dead | hit


class CollectionBuffer:
    """Unflushed operations of one collection, applied in log order."""

    def __init__(self) -> None:
        self._batches: dict[str, list[_Batch]] = defaultdict(list)
        self._deletes: dict[str, list[tuple[int, Ids]]] = defaultdict(list)
        self.first_lsn: int | None = None
        self.last_lsn = 0
        self.nbytes = 0

    def insert(self, table_id: str, ids: Ids, vectors: RowBytes, lsn: int) -> None:
        """Add rows; the arrays are kept and must not be changed any more."""
        self._batches[table_id].append(_Batch(lsn, ids, vectors))
        self.nbytes += ids.nbytes + vectors.nbytes
        self._note(lsn)

    def delete(self, table_ids: Sequence[str], ids: Ids, lsn: int) -> None:
        """Take rows of these ids away at once, and remember the ids for segments that are on disk."""
        for table_id in table_ids:
            for batch in self._batches.get(table_id, ()):
                batch.kill(ids)
            self._deletes[table_id].append((lsn, ids))
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
        return _joined([batch.live() for batch in self._batches.get(table_id, ())])

    def deletes(self) -> dict[str, Ids]:
        """Ids to delete from segments on disk, sorted and unique, by partition."""
        return {
            table_id: np.unique(np.concatenate([ids for _, ids in found])) for table_id, found in self._deletes.items()
        }

    def frozen(self) -> _Frozen:
        """What is here now; it does not change any more."""
        return _Frozen(
            {table_id: tuple(map(replace, batches)) for table_id, batches in self._batches.items()},
            {table_id: tuple(found) for table_id, found in self._deletes.items()},
            self.last_lsn,
        )


@dataclass(frozen=True, slots=True)
class _Frozen:
    batches: Mapping[str, tuple[_Batch, ...]]
    deletes: Mapping[str, tuple[tuple[int, Ids], ...]]
    last_lsn: int


@dataclass(frozen=True, slots=True)
class GrowingView:
    """What one collection had in the buffer at one moment: being flushed, and waiting behind that; never changed."""

    buffers: tuple[_Frozen, ...]

    @property
    def last_lsn(self) -> int:
        """The newest log record in it; 0 when it is empty."""
        return max((buffer.last_lsn for buffer in self.buffers), default=0)

    def rows(self, table_ids: Iterable[str], after: int) -> tuple[Ids, RowBytes]:
        """Live rows of these partitions, logged behind position ``after``: int64[n] and uint8[n, row bytes]."""
        return _joined([part for table_id in table_ids for part in self._live(table_id, after)])

    def deletes(self, table_ids: Iterable[str], after: int) -> Ids:
        """Ids deleted behind position ``after``, which segments may still hold; sorted and unique."""
        found = [
            ids
            for table_id in table_ids
            for buffer in self.buffers
            for lsn, ids in buffer.deletes.get(table_id, ())
            if lsn > after
        ]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _live(self, table_id: str, after: int) -> Iterator[tuple[Ids, RowBytes]]:
        for number, buffer in enumerate(self.buffers):
            # A delete takes rows of its own buffer away when it comes; those of the one before it are taken here.
            later = [ids for behind in self.buffers[number + 1 :] for _, ids in behind.deletes.get(table_id, ())]
            for batch in buffer.batches.get(table_id, ()):
                if batch.lsn > after:
                    ids, vectors = batch.live()
                    keep = ~np.isin(ids, np.concatenate(later)) if later else slice(None)
                    yield ids[keep], vectors[keep]


def _joined(parts: Sequence[tuple[Ids, RowBytes]]) -> tuple[Ids, RowBytes]:
    if not parts:
        return np.empty(0, np.int64), np.empty((0, 0), np.uint8)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])


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

    def view(self, collection: str) -> GrowingView:
        """What a collection has here now, what is being flushed included."""
        with self._lock:
            held = (self._flushing.get(collection), self._waiting.get(collection))
            return GrowingView(tuple(buffer.frozen() for buffer in held if buffer is not None))

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
