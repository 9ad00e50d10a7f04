"""The catalog as one program has it, and rows to put into it."""

from __future__ import annotations

from collections.abc import Callable

from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.files import Deletion, FileWriter, NewFile
from mishards.catalog.reader import CatalogReader
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection
from mishards.catalog.transaction import WritableCatalog, now_us
from mishards.kinds import IndexType, MetricType


class Catalog:
    """Writers and a reader on one database, through engines of their own."""

    def __init__(self, uri: str, clock_us: Callable[[], int] = now_us) -> None:
        self.engine = open_engine(uri)
        self.writable = WritableCatalog(self.engine, clock_us)
        self.definitions = DefinitionWriter(self.writable)
        self.files = FileWriter(self.writable)
        self.reader = CatalogReader(open_engine(uri))

    def close(self) -> None:
        """Give the connections back."""
        self.reader.close()
        self.engine.dispose()

    def collection(self, name: str = "words") -> Collection:
        """The collection as it is now."""
        return self.reader.read(None).collection(name)

    def create(self, name: str = "words", dimension: int = 128) -> None:
        """Record a collection."""
        self.definitions.create_collection(name, dimension, 1 << 30, MetricType.L2)

    def flush(self, *segment_ids: str, deletions: tuple[Deletion, ...] = (), name: str = "words", lsn: int = 0) -> None:
        """Show raw segments of ten rows, and deletions; without an ``lsn``, at the next position."""
        position = lsn or self.collection(name).table.flush_lsn + 1
        self.files.flush([raw_file(segment_id, name) for segment_id in segment_ids], deletions, position, [name])


def raw_file(segment_id: str, table_id: str = "words", *, rows: int = 10) -> NewFile:
    """A raw file that wants a row."""
    return NewFile(table_id, segment_id, segment_id, FileType.RAW, IndexType.FLAT, 5200, rows)
