"""Loading collections before the first search asks for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from milvus_node.errors import CacheFull, StorageError
from milvus_node.search.cache import SegmentCache, expected_bytes
from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.errors import MishardsError

log = logging.getLogger(__name__)

ALL = "*"


def preload_at_start(cache: SegmentCache, read: Callable[[], Snapshot], wanted: str) -> None:
    """Preload what a node is configured to; what keeps it from that is logged and keeps it from nothing else."""
    if not wanted.strip():
        return
    try:
        preload(cache, read(), wanted)
    except MishardsError as error:
        log.warning("not all of %s is preloaded: %s", wanted, error)


def preload(cache: SegmentCache, snapshot: Snapshot, wanted: str) -> int:
    """Load the segments of the collections that ``wanted`` lists by commas, or of all for ``*``; return how many.

    A collection that is not there and a segment that cannot be loaded are logged and passed over.

    Raises:
        CacheFull: the next segment would not fit; what fits is loaded.
    """
    start, loaded = time.monotonic(), 0
    for collection in _listed(snapshot, wanted):
        for segment in collection.segments:
            if cache.usage.nbytes + expected_bytes(segment) > cache.capacity_bytes:
                raise CacheFull(
                    f"Cache is full: {loaded} segments of {wanted} are loaded, {expected_bytes(segment)} bytes of "
                    f"{collection.name} do not fit into {cache.capacity_bytes}; enlarge cache.cache_size"
                )
            loaded += _load(cache, collection, segment)
    log.info(
        "preloaded %s segments=%d bytes=%d seconds=%.3f", wanted, loaded, cache.usage.nbytes, time.monotonic() - start
    )
    return loaded


def _listed(snapshot: Snapshot, wanted: str) -> list[Collection]:
    if wanted == ALL:
        return list(snapshot.collections.values())
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in snapshot.collections:
            log.warning("collection %s is to be preloaded and does not exist", name)
    return [snapshot.collections[name] for name in names if name in snapshot.collections]


def _load(cache: SegmentCache, collection: Collection, segment: Segment) -> bool:
    try:
        with cache.hold(collection, segment):
            return True
    except StorageError as error:
        log.warning("segment %s of %s is not preloaded: %s", segment.segment_id, collection.name, error)
        return False
