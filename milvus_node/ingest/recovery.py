"""After a start: what the log has and the segments do not."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from milvus_node.errors import StorageError
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.parts import WriteParts
from milvus_node.ingest.wal import DeleteRecord, InsertRecord
from mishards.catalog.records import IdMode
from mishards.catalog.snapshot import Snapshot

log = logging.getLogger(__name__)


def flushed_lsn(snapshot: Snapshot) -> int:
    """The highest log position that the catalog has recorded; a log must go on above it."""
    return max(
        (partition.table.flush_lsn for c in snapshot.collections.values() for partition in c.partitions), default=0
    )


def recover(parts: WriteParts, flusher: Flusher, buffer_bytes: int) -> int:
    """Apply every record that is newer than its partition's flushed position, flush, and return how many there were.

    Must end before the first call is served. Records of collections that are gone are skipped. Repeating is harmless:
    the flushed position moves in the same transaction that shows the rows.

    Raises:
        LogDamaged: the log cannot be read to its end.
        StorageError: more rows than fit the buffer cannot be flushed. Fewer stay in buffer and log, and the node can
            serve.
    """
    snapshot = parts.catalog.refreshed()
    for segment in snapshot.segments_by_file.values():
        if segment.segment_id.isdecimal():
            parts.ids.not_below(int(segment.segment_id))  # generated rows of a segment have lower ids than its name
    parts.ids.begin_term()
    owners = {
        partition.table_id: (name, partition.table.flush_lsn)
        for name, collection in snapshot.collections.items()
        for partition in collection.partitions
    }
    beyond = 1 << 63
    applied = 0
    for lsn, record in parts.wal.replay(lambda table_id: owners.get(table_id, ("", beyond))[1]):
        if isinstance(record, InsertRecord):
            _insert(parts, owners[record.table_id][0], lsn, record)
        else:
            for name in {owners[table_id][0] for table_id in record.table_ids}:
                _delete(parts, name, [t for t in record.table_ids if owners[t][0] == name], lsn, record)
        applied += 1
        if parts.buffer.nbytes > buffer_bytes:
            # The log takes no cut before it is replayed; what is flushed here is left out by the next recovery.
            flusher.flush_all()
    try:
        flusher.flush_all()
    except StorageError as error:
        log.warning("recovered rows wait to be flushed: %s", error)
    if parts.buffer.first_lsn() is None:
        parts.wal.cut(parts.wal.last_lsn)
    if applied:
        log.info("recovered records=%d", applied)
    return applied


def _insert(parts: WriteParts, name: str, lsn: int, record: InsertRecord) -> None:
    if parts.catalog.known().collection(name).id_mode is IdMode.UNDECIDED:
        parts.definitions.set_id_mode(name, IdMode.GENERATED if record.ids_generated else IdMode.USER)
        parts.catalog.refreshed()
    if record.ids_generated and len(record.ids):
        parts.ids.not_below(int(record.ids[-1]))
    parts.buffer.insert(name, record.table_id, record.ids, record.vectors, lsn)


def _delete(parts: WriteParts, name: str, table_ids: Iterable[str], lsn: int, record: DeleteRecord) -> None:
    parts.buffer.delete(name, tuple(table_ids), record.ids, lsn)
