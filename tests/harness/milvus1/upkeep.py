"""Merges, index builds, compaction, drops and the clean-up: the statements in the real order, hence with its gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.milvus1 import segments
from harness.milvus1.clock import microseconds
from harness.milvus1.hooks import Point
from harness.milvus1.kinds import RAW_DATA, Engine, FileType, Metric, State
from harness.milvus1.metadata import Collection, File
from harness.milvus1.parts import Parts
from harness.milvus1.segments import Ids, Rows

_COMPACTED_FROM = 0.1
"""The share of deleted rows from which a segment is rewritten."""
_POLL_S = 0.02


class Upkeep:
    """What one node does to files that are flushed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._metadata = parts.metadata

    def everything(self) -> list[Collection]:
        """Return all collections and partitions."""
        return [table for root in self._metadata.collections() for table in self._metadata.with_partitions(root)]

    def merge(self, tables: Iterable[Collection]) -> None:
        """Merge the small raw segments of each collection or partition into ones of about ``index_file_size``."""
        with self._parts.changing:
            for table in tables:
                raw = self._metadata.files([table], [FileType.RAW])
                for group in _groups(raw, table.index_file_size):
                    self._merge(table, group)

    def _merge(self, table: Collection, sources: Sequence[File]) -> None:
        """Hide the sources, one statement each, and only then show the merged file."""
        live = [self._live(table, source) for source in sources]
        rows, ids = np.concatenate([part[0] for part in live]), np.concatenate([part[1] for part in live])
        new = self._parts.new_file(table, FileType.NEW_MERGE)
        segments.write_segment(self._parts.storage, new, rows, ids)
        self._parts.hooks.reach(Point.MERGE_NEW)
        with self._metadata.atomically:
            for source in sources:
                self._metadata.update_file(source, file_type=FileType.TO_DELETE)
            self._parts.hooks.reach(Point.MERGE_GAP)
            self._show(table, new, rows, ids)

    def _live(self, table: Collection, file: File) -> tuple[Rows, Ids]:
        folder = segments.segment_folder(self._parts.storage, file)
        ids = segments.read_ids(folder)
        live = segments.live_rows(folder, len(ids))
        return segments.read_rows(folder, Metric(table.metric_type).vector_bytes(table.dimension))[live], ids[live]

    def _show(self, table: Collection, new: File, rows: Rows, ids: Ids, *, to_index: bool = False) -> None:
        """Make a new raw file visible; one without rows never becomes so."""
        size = rows.nbytes + ids.nbytes
        shown = FileType.TO_INDEX if to_index else self._parts.raw_type(table, size, len(ids))
        file_type = shown if len(ids) else FileType.TO_DELETE
        self._metadata.update_file(new, file_type=file_type, file_size=size, row_count=len(ids))

    def compact(self, root: Collection) -> None:
        """Rewrite each segment of which enough is deleted; for a moment the old and the new one are both visible."""
        with self._parts.changing:
            for table in self._metadata.with_partitions(root):
                for file in self._metadata.files([table], RAW_DATA):
                    self._compact(table, file)

    def _compact(self, table: Collection, old: File) -> None:
        folder = segments.segment_folder(self._parts.storage, old)
        deleted, total = len(segments.read_deleted(folder)), len(segments.read_ids(folder))
        if not deleted or deleted / total < _COMPACTED_FROM:
            return
        rows, ids = self._live(table, old)
        new = self._parts.new_file(table, FileType.NEW_MERGE)
        segments.write_segment(self._parts.storage, new, rows, ids)
        to_index = old.file_type != FileType.RAW and len(ids) > self._parts.options.build_threshold
        with self._metadata.atomically:
            self._show(table, new, rows, ids, to_index=to_index)
            self._parts.hooks.reach(Point.COMPACT_BOTH)
            for file in self._metadata.files_of_segment(old.segment_id):
                self._metadata.update_file(file, file_type=FileType.TO_DELETE)

    def create_index(self, root: Collection, engine: Engine, params: str) -> None:
        """Mark what is to be indexed and wait until the writable node's background thread has built it."""
        tables = self._metadata.with_partitions(root)
        self._merge_for_index(tables)
        if (root.engine_type, root.index_params) != (engine, params):
            for table in tables:
                self._drop_index(table)
                self._metadata.update_collection(table.table_id, engine_type=engine, index_params=params)
        if engine in (Engine.FLAT, Engine.BIN_FLAT):
            return
        for table in tables:
            self._metadata.mark_to_index(table, self._parts.options.build_threshold)
        while self._metadata.files(tables, [FileType.TO_INDEX]):
            self._parts.hooks.wait(_POLL_S)

    def drop_index(self, root: Collection) -> None:
        """Make the raw files of a collection and its partitions the searched ones again."""
        tables = self._metadata.with_partitions(root)
        for table in tables:
            self._drop_index(table)
        self._merge_for_index(tables)

    def _merge_for_index(self, tables: Iterable[Collection]) -> None:
        if "index" in self._parts.options.merges:
            self.merge(tables)

    def _drop_index(self, table: Collection) -> None:
        flat = Metric(table.metric_type).flat()
        with self._metadata.atomically:
            self._metadata.retype_files(table, FileType.INDEX, FileType.TO_DELETE)
            self._parts.hooks.reach(Point.INDEX_DROPPED)
            self._metadata.retype_files(table, FileType.BACKUP, FileType.RAW)
            self._metadata.update_collection(table.table_id, engine_type=flat, index_params="{}")

    def build_pending(self) -> None:
        """Build an index for every file that waits for one; the writable node's background thread does this."""
        for file in self._metadata.files(self.everything(), [FileType.TO_INDEX]):
            table = self._metadata.collection(file.table_id)  # as it is after the file was marked
            if table is not None:
                self._build(table, file)

    def _build(self, table: Collection, source: File) -> None:
        """Show the index file first and then turn the raw file into BACKUP."""
        new = self._parts.new_index_file(table, source)
        place = segments.location(self._parts.storage, new)
        size = segments.write_index(place, table.engine_type, b"no index: a test double searches by brute force")
        self._parts.hooks.reach(Point.INDEX_NEW)
        with self._metadata.atomically:
            now = self._metadata.files_by_id([source.id or 0])
            if not now or now[0].file_type != FileType.TO_INDEX:
                self._metadata.update_file(new, file_type=FileType.TO_DELETE)
                return
            rows = now[0].row_count
            self._metadata.update_file(new, file_type=FileType.INDEX, file_size=size, row_count=rows)
            self._parts.hooks.reach(Point.INDEX_BOTH)
            self._metadata.update_file(source, file_type=FileType.BACKUP)

    def drop(self, tables: Iterable[Collection]) -> None:
        """Mark collections or partitions and their files as dropped."""
        for table in tables:
            self._metadata.update_collection(table.table_id, state=State.TO_DELETE)
            self._metadata.drop_files(table)

    def clean(self) -> None:
        """Remove dropped rows of ``Tables`` at once, and files and their rows once they are old enough."""
        if dropped := self._metadata.dropped():
            self._metadata.remove_collections(dropped)
        before = microseconds() - int(self._parts.options.cleanup_delay_s * 1e6)
        for file in self._metadata.files_to_remove(before):
            self._parts.searcher.forget([file])
            segments.remove_file(self._parts.storage, file, self._metadata.files_of_segment(file.segment_id))
            self._metadata.remove_files([file])


def _groups(files: Iterable[File], enough: int) -> Iterator[list[File]]:
    """Gather small files, in order, until their sizes make up ``enough``; a lone one stays as it is."""
    group: list[File] = []
    for file in files:
        if file.file_size >= enough:
            continue
        group.append(file)
        if sum(part.file_size for part in group) >= enough:
            yield group
            group = []
    if len(group) > 1:
        yield group
