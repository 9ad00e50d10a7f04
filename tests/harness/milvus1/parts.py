"""What the threads of one node share, and nothing more."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from harness.milvus1.clock import Names, date_number, microseconds
from harness.milvus1.hooks import Hooks
from harness.milvus1.kinds import Engine, FileType
from harness.milvus1.metadata import Collection, File, Metadata
from harness.milvus1.options import Options, Role
from harness.milvus1.reading import Searcher


@dataclass(frozen=True)
class Parts:
    """One node's role, settings, tables, folder, cache and hooks."""

    role: Role
    options: Options
    hooks: Hooks
    metadata: Metadata
    storage: Path
    searcher: Searcher
    names: Names = field(default_factory=Names)
    changing: threading.RLock = field(default_factory=threading.RLock)
    """Flush, merge and compaction exclude each other in this process."""

    def new_file(self, table: Collection, file_type: FileType) -> File:
        """Insert the row of a new raw segment; it takes the engine that its collection has now."""
        name = str(self.names.take())
        return self._insert_file(table, name, name, file_type)

    def new_index_file(self, table: Collection, source: File) -> File:
        """Insert the row of a new index file of a segment."""
        return self._insert_file(table, source.segment_id, str(self.names.take()), FileType.NEW_INDEX)

    def _insert_file(self, table: Collection, segment_id: str, file_id: str, file_type: FileType) -> File:
        now = microseconds()
        engine, date = table.engine_type, date_number()
        row = File(None, table.table_id, segment_id, engine, file_id, file_type, 0, 0, now, now, date)
        return self.metadata.add_file(row)

    def raw_type(self, table: Collection, size: int, rows: int) -> FileType:
        """Return what a finished raw file becomes: it waits for an index when it is big enough and there is one."""
        wanted = table.engine_type not in (Engine.FLAT, Engine.BIN_FLAT)
        big = size >= table.index_file_size and rows >= self.options.build_threshold
        return FileType.TO_INDEX if wanted and big else FileType.RAW
