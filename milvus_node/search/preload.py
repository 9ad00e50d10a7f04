"""Loading collections before the first search asks for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from milvus_node.errors import CacheFull, StorageError
from milvus_node.search.cache import SegmentCache, expected_bytes
from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.errors import MishardsError

log = logging.getLogger(__name__)

ALL = "*"


class PreloadAtStart:
    """Loads what a node is configured to, before it serves; may be called off from any thread, also before it began."""

    def __init__(self, cache: SegmentCache, read: Callable[[], Snapshot], wanted: str) -> None:
        self._cache = cache
        self._read = read
        self._wanted = wanted.strip()
        self._over = threading.Event()

    def run(self) -> None:
        """Load; returns once that is done or called off. What keeps it from loading is logged, and never raised."""
        if self._wanted and not self._over.is_set():
            log.info("preloading %s", self._wanted)
            # On a thread that nobody joins: a load under way can take long, or hang with its storage.
            threading.Thread(target=self._load, name="preload", daemon=True).start()
            self._over.wait()

    def call_off(self) -> None:
        """Load no further segment, and wait for none."""
        self._over.set()

    def _load(self) -> None:
        try:
            preload(self._cache, self._read(), self._wanted, self._over.is_set)
        except MishardsError as error:
            log.warning("not all of %s is preloaded: %s", self._wanted, error)
        finally:
            self._over.set()


def preload(cache: SegmentCache, snapshot: Snapshot, wanted: str, is_called_off: Callable[[], bool]) -> None:
    """Load the segments of the collections that ``wanted`` lists by commas, or of all for ``*``.

    A collection that is not there and a segment that cannot be loaded are logged and passed over.

    Raises:
        CacheFull: the next segment would not fit; what fits is loaded.
    """
    start, loaded = time.monotonic(), 0
    for collection in _listed(snapshot, wanted):
        for segment in collection.segments:
            if is_called_off():
                return
            if cache.usage.nbytes + expected_bytes(segment) > cache.capacity_bytes:
                raise CacheFull(
                    f"Cache is full: {loaded} segments of {wanted} are loaded, {expected_bytes(segment)} bytes of "
                    f"{collection.name} do not fit into {cache.capacity_bytes}; enlarge cache.cache_size"
                )
            loaded += _loaded(cache, collection, segment)
    log.info(
        "preloaded %s segments=%d bytes=%d seconds=%.3f", wanted, loaded, cache.usage.nbytes, time.monotonic() - start
    )


def _listed(snapshot: Snapshot, wanted: str) -> list[Collection]:
    if wanted == ALL:
        return list(snapshot.collections.values())
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in snapshot.collections:
            log.warning("collection %s is to be preloaded and does not exist", name)
    return [snapshot.collections[name] for name in names if name in snapshot.collections]


def _loaded(cache: SegmentCache, collection: Collection, segment: Segment) -> bool:
    try:
        with cache.hold(collection, segment):
            return True
    except StorageError as error:
        log.warning("segment %s of %s is not preloaded: %s", segment.segment_id, collection.name, error)
        return False
