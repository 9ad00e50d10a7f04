"""Segments in memory, bounded in bytes.

Invariants: a segment is loaded once however many ask for it at the same time; what is in use is never evicted; least
recently used goes first; a load begins when its segment fits beside what is in use or being loaded, or when nothing is.
An entry is known by its file, segment and table: row ids of the catalog may be given twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from milvus_node.search.segment import LoadedSegment
from mishards.catalog.snapshot import Collection, Segment
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded

Key = tuple[str, str, str]
Load = Callable[[Collection, Segment], LoadedSegment]
Away = Callable[[], AbstractContextManager[None]]

_LONGEST_WAIT_S: Final = 600.0
_BYTES_BESIDE_VECTORS: Final = 16
"""Of each row: its id, and what an index notes of it."""
_NEVER: Final = Deadline.never()


def key_of(segment: Segment) -> Key:
    """What a loaded segment is known by."""
    return segment.table_id, segment.segment_id, segment.file.file_id


def expected_bytes(segment: Segment) -> int:
    """About what a segment takes once it is loaded; seldom less."""
    return segment.file.file_size + _BYTES_BESIDE_VECTORS * segment.rows


class Entry:
    """``nbytes`` is what the segment will take, about, until it is loaded; ``segment`` is set some time after that."""

    __slots__ = ("loaded", "nbytes", "pins", "segment")

    def __init__(self, nbytes: int) -> None:
        self.loaded: Future[LoadedSegment] = Future()
        self.segment: LoadedSegment | None = None
        self.nbytes = nbytes
        self.pins = 0


class Held:
    """A segment pinned in memory for a block."""

    __slots__ = ("_asked", "_cache", "_entry")

    def __init__(self, cache: SegmentCache, collection: Collection, segment: Segment, deadline: Deadline) -> None:
        self._cache = cache
        self._asked = collection, segment, deadline

    def __enter__(self) -> LoadedSegment:
        self._entry, segment = self._cache.pin(*self._asked)
        return segment

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cache.unpin(self._entry)


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What the cache holds and has done since the start."""

    nbytes: int
    segments: int
    hits: int
    loads: int
    evictions: int


class SegmentCache:
    """Loads, keeps and evicts segments. Safe from any thread; loading runs on the thread that asks first."""

    def __init__(self, load: Load, capacity_bytes: int, away: Away = nullcontext) -> None:
        """``away`` is entered by a thread while it waits for the folder, so that others can do its work meanwhile."""
        self._load = load
        self._away = away
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._nbytes = 0
        self._hits = self._loads = self._evictions = 0

    def hold(self, collection: Collection, segment: Segment, deadline: Deadline = _NEVER) -> Held:
        """The segment in memory, pinned while the block lasts that this is the context of.

        To be held one at a time: whoever waits for room must not be in another's way. To enter it

        Raises:
            DeadlineExceeded: there was no room, or someone else's load of it, which goes on, took too long.
            StorageError: it cannot be loaded; everyone who waited for the same load gets the same error, the next one
                tries again.
        """
        return Held(self, collection, segment, deadline)

    def pin(self, collection: Collection, segment: Segment, deadline: Deadline) -> tuple[Entry, LoadedSegment]:
        """Load the segment where that has not been done, and keep it until ``unpin``. Raises as ``hold``."""
        with self._lock:
            found = self._pin(segment)
        if found is not None and found[0].segment is not None:
            return found[0], found[0].segment
        deadline = deadline.earlier(_LONGEST_WAIT_S)
        entry, mine = self._pinned(segment, deadline) if found is None else found
        try:
            if mine:
                with self._away():
                    self._fill(entry, collection, segment)
            elif not entry.loaded.done():
                with self._away():
                    _wait(entry, segment, deadline)
            loaded = entry.segment = entry.loaded.result(0)
        except BaseException:
            self.unpin(entry)
            raise
        return entry, loaded

    def unpin(self, entry: Entry) -> None:
        """The segment is not used any more by who has pinned it."""
        with self._lock:
            entry.pins -= 1
            self._shrink(0)
            self._room.notify_all()

    def _pinned(self, segment: Segment, deadline: Deadline) -> tuple[Entry, bool]:
        """The segment's entry, once there is room, and whether it is new, so that the caller has to fill it."""
        with self._away(), self._lock:
            while (found := self._pin(segment)) is None:
                if not self._room.wait(deadline.timeout()):
                    raise DeadlineExceeded(
                        f"there was no room for segment {segment.segment_id} of table {segment.table_id} beside the "
                        f"segments in use; enlarge cache.cache_size_bytes, now {self._capacity_bytes}"
                    )
            return found

    def _pin(self, segment: Segment) -> tuple[Entry, bool] | None:
        """The same, or None where there is no room for it yet; under the lock."""
        key = key_of(segment)
        entry = self._entries.get(key)
        is_new = entry is None
        if entry is None:
            nbytes = expected_bytes(segment)
            self._shrink(nbytes)
            if self._entries and self._nbytes + nbytes > self._capacity_bytes:
                return None
            entry = self._entries[key] = Entry(nbytes)
            self._nbytes += nbytes
            self._loads += 1
        else:
            self._hits += 1
        entry.pins += 1
        self._entries.move_to_end(key)
        return entry, is_new

    def _fill(self, entry: Entry, collection: Collection, segment: Segment) -> None:
        key = key_of(segment)
        try:
            loaded = self._load(collection, segment)
        except BaseException as error:  # noqa: BLE001 - handed to everyone who waits for this load, the caller included
            with self._lock:
                if self._entries.get(key) is entry:
                    self._nbytes -= self._entries.pop(key).nbytes
            entry.loaded.set_exception(error)
            return
        with self._lock:
            if self._entries.get(key) is entry:
                self._nbytes += loaded.nbytes - entry.nbytes
                entry.nbytes = loaded.nbytes
                self._shrink(0)
        entry.loaded.set_result(loaded)

    def _shrink(self, wanted: int) -> None:
        """Evict until ``wanted`` bytes more fit, as far as that goes; under the lock."""
        most = self._capacity_bytes - wanted
        if self._nbytes <= most:
            return
        for key, entry in list(self._entries.items()):
            if entry.pins == 0:
                self._remove(key)
                if self._nbytes <= most:
                    return

    def _remove(self, key: Key) -> None:
        self._nbytes -= self._entries.pop(key).nbytes
        self._evictions += 1

    def release(self, keys: set[Key]) -> None:
        """Forget these; searches that use them go on."""
        with self._lock:
            for key in keys & self._entries.keys():
                self._remove(key)
            self._room.notify_all()

    def retain(self, keys: set[Key]) -> None:
        """Forget everything but these."""
        with self._lock:
            for key in self._entries.keys() - keys:
                if self._entries[key].pins == 0:
                    self._remove(key)

    def resize(self, capacity_bytes: int) -> None:
        """Keep at most this much from now on."""
        with self._lock:
            self._capacity_bytes = capacity_bytes
            self._shrink(0)
            self._room.notify_all()

    @property
    def usage(self) -> CacheUsage:
        """What is held now."""
        with self._lock:
            return CacheUsage(self._nbytes, len(self._entries), self._hits, self._loads, self._evictions)

    @property
    def capacity_bytes(self) -> int:
        """What may be held, beyond what is in use."""
        return self._capacity_bytes

    @property
    def rows(self) -> int:
        """Rows of the segments held, deleted ones counted."""
        with self._lock:
            loads = [entry.loaded for entry in self._entries.values()]
        return sum(len(load.result().ids) for load in loads if load.done() and not load.exception())


def _wait(entry: Entry, segment: Segment, deadline: Deadline) -> None:
    """Wait for the end of a load, however it ends."""
    try:
        entry.loaded.exception(deadline.timeout())
    except FutureTimeoutError:
        raise DeadlineExceeded(
            f"segment {segment.segment_id} of table {segment.table_id} was still being loaded when the deadline passed"
        ) from None
