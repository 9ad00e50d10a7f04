"""What the rows of the catalog tell of deletes in segments, and of the compaction that removes them; pure.

No column says how many rows of a segment have been deleted. But a raw file keeps the size that it was written with,
while its row count falls.
"""

from __future__ import annotations

from collections.abc import Mapping

from mishards.catalog.snapshot import Collection, Segment, Snapshot

_ID_BYTES = 8


def has_deletes(collection: Collection, segment: Segment) -> bool:
    """Have rows of a segment been deleted since its raw file was written? Yes, where that cannot be told."""
    raw = segment.raw or segment.file
    row_bytes = collection.metric.vector_bytes(collection.dimension) + _ID_BYTES
    return (segment.is_indexed and segment.raw is None) or raw.file_size != raw.row_count * row_bytes


def in_compaction(previous: Snapshot | None, collections: Mapping[str, Collection]) -> bool:
    """Does this read show a segment both as it was and as compacted by a real Milvus writer?

    Such a writer shows the compacted segment before it marks the old one TO_DELETE; for some statements every live row
    is visible twice. So: a segment has come that has as many rows as one with deletes which was there before. A flush
    of just so many rows looks the same, so callers bound how often they believe it. The first read of a process has
    nothing to compare with.
    """
    if previous is None:
        return False
    return any(
        _shows_both(previous.collections[name], collection)
        for name, collection in collections.items()
        if name in previous.collections
    )


def _shows_both(before: Collection, now: Collection) -> bool:
    known = {(segment.table_id, segment.segment_id) for segment in before.segments}
    came = {
        (segment.table_id, segment.rows)
        for segment in now.segments
        if (segment.table_id, segment.segment_id) not in known
    }
    return bool(came) and any(
        (segment.table_id, segment.rows) in came and has_deletes(now, segment)
        for segment in now.segments
        if (segment.table_id, segment.segment_id) in known
    )
