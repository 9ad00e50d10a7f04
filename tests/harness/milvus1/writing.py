"""Inserts, deletes and flushes. On a read-only node nothing ever leaves the buffers."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from harness.milvus1 import segments
from harness.milvus1.hooks import Point
from harness.milvus1.kinds import RAW_DATA, FileType
from harness.milvus1.metadata import Collection, File
from harness.milvus1.parts import Parts
from harness.milvus1.segments import Ids, Rows

_VISIBLE = (*RAW_DATA, FileType.INDEX)


@dataclass
class _Buffer:
    """What was written to one collection or partition since its last flush."""

    rows: list[Rows] = field(default_factory=list)
    ids: list[Ids] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    """Ids to delete from what is flushed already; rows of this buffer have been removed at once."""


class Writer:
    """The insert buffers of one node; its methods may be called from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._buffers: dict[str, _Buffer] = {}
        self._lsn = 0

    def insert(self, table: Collection, rows: Rows, ids: Ids) -> None:
        """Buffer rows; nobody sees them before a flush."""
        with self._lock:
            buffer = self._buffers.setdefault(table.table_id, _Buffer())
            buffer.rows.append(rows)
            buffer.ids.append(ids)
            self._lsn += rows.nbytes + ids.nbytes

    def delete(self, tables: Iterable[Collection], ids: Iterable[int]) -> None:
        """Delete buffered rows now and flushed ones at the next flush; a row inserted later survives."""
        doomed = set(ids)
        with self._lock:
            for table in tables:
                buffer = self._buffers.setdefault(table.table_id, _Buffer())
                buffer.deleted |= doomed
                kept = [~np.isin(batch, list(doomed)) for batch in buffer.ids]
                buffer.rows = [batch[mask] for batch, mask in zip(buffer.rows, kept, strict=True)]
                buffer.ids = [batch[mask] for batch, mask in zip(buffer.ids, kept, strict=True)]
            self._lsn += 8 * len(doomed)

    def flush_all(self) -> None:
        """Flush every collection and partition, as the automatic flush does."""
        with self._lock:
            names = list(self._buffers)
            lsn = self._lsn
        if names:
            self.flush(names)
            if self._parts.role == "rw":
                self._parts.metadata.set_global_lsn(lsn)

    def flush(self, table_ids: Iterable[str]) -> None:
        """Apply deletes, then turn each buffer into a segment; on a read-only node do nothing and say nothing."""
        if self._parts.role == "ro":
            return
        for table_id in table_ids:
            with self._parts.changing:
                table = self._parts.metadata.collection(table_id)
                with self._lock:
                    buffer = self._buffers.pop(table_id, None)
                    lsn = self._lsn
                if buffer is not None and table is not None:
                    self._flush(table, buffer)
                    self._parts.metadata.update_collection(table_id, flush_lsn=lsn)

    def _flush(self, table: Collection, buffer: _Buffer) -> None:
        if buffer.deleted:
            for file in self._parts.metadata.files([table], RAW_DATA):
                self._delete_from(file, buffer.deleted)
        if not sum(map(len, buffer.ids)):
            return
        rows, ids = np.concatenate(buffer.rows), np.concatenate(buffer.ids)
        file = self._parts.new_file(table, FileType.NEW)
        segments.write_segment(self._parts.storage, file, rows, ids)
        self._parts.hooks.reach(Point.FLUSH_NEW)
        size = rows.nbytes + ids.nbytes
        file_type = self._parts.raw_type(table, size, len(ids))
        self._parts.metadata.update_file(file, file_type=file_type, file_size=size, row_count=len(ids))

    def _delete_from(self, raw: File, doomed: set[int]) -> None:
        """Write a segment's deletes, then tell each of its rows: the only sign of a delete that anybody gets."""
        folder = segments.segment_folder(self._parts.storage, raw)
        ids = segments.read_ids(folder)
        offsets = np.flatnonzero(np.isin(ids, list(doomed)) & segments.live_rows(folder, len(ids)))
        if not len(offsets):
            return
        segments.add_deleted(folder, offsets.astype(np.int32))
        self._parts.hooks.reach(Point.DELETE_WRITTEN)
        with self._parts.metadata.atomically:
            files = [f for f in self._parts.metadata.files_of_segment(raw.segment_id) if f.file_type in _VISIBLE]
            for file in files:
                self._parts.metadata.update_file(file, row_count=file.row_count - len(offsets))
        self._parts.searcher.reload_files(files)
