"""Where things lie in the shared folder; path arithmetic, no I/O.

    <root>/lock                                    held by the writable node
    <root>/db/tables/<table_id>/<segment_id>/      one folder per segment; a partition is a table

Nothing that a client or the catalog says becomes a path before ``checked_name`` has passed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from milvus_node.storage.damage import DamagedSegments
from milvus_node.storage.names import checked_name
from milvus_node.storage.segment_folder import SegmentFolder


@dataclass(frozen=True, slots=True)
class StorageLayout:
    """The paths below ``root``, and whether new segments get the file that only Milvus 1.x nodes read."""

    root: Path
    bloom_filters: bool = True
    damaged: DamagedSegments = field(default_factory=DamagedSegments, compare=False, repr=False)
    """What was found damaged below ``root``."""

    @property
    def lock_path(self) -> Path:
        """The file whose lock a writable node holds."""
        return self.root / "lock"

    @property
    def tables_path(self) -> Path:
        """The folder of all tables."""
        return self.root / "db" / "tables"

    def table_path(self, table_id: str) -> Path:
        """The folder of a table; StorageError when ``table_id`` cannot name one."""
        return self.tables_path / checked_name("table", table_id)

    def segment(self, table_id: str, segment_id: str) -> SegmentFolder:
        """The folder of a segment, which need not exist; StorageError when an id cannot name one."""
        path = self.table_path(table_id) / checked_name("segment", segment_id)
        return SegmentFolder(path, bloom_filters=self.bloom_filters)
