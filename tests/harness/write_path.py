"""The write path of a node in this process: no server, no background loop, and what a crash leaves of it.

Catalog, log and folder are real. A crash forgets what is in memory; ``start`` after it is what a new process does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvus_node.catalog import NodeCatalog
from milvus_node.ids import IdGenerator
from milvus_node.ingest.build import IndexBuilder
from milvus_node.ingest.collections import CollectionWriter
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.parts import WriteParts
from milvus_node.ingest.recovery import flushed_lsn, recover
from milvus_node.ingest.rewrite import Rewriter
from milvus_node.ingest.rows import RowWriter
from milvus_node.ingest.wal import WalOptions, WriteAheadLog
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.files import FileWriter
from mishards.catalog.reader import CatalogReader
from mishards.catalog.snapshot import Collection
from mishards.catalog.transaction import WritableCatalog
from mishards.deadline import Deadline
from mishards.errors import MishardsError
from mishards.kinds import MetricType

DIMENSION = 4
WAIT_S = 20.0

Row = tuple[int, float]
"""An id, and the value that every component of its vector has."""


class WritePath:
    """The parts of one writable node over ``folder``; made by ``start``, ended by ``stop`` or ``crash``."""

    def __init__(self, folder: Path, *, buffer_bytes: int = 1 << 30, uri: str = "") -> None:
        """``uri`` is the metadata database's; without one, SQLite in the folder."""
        self.uri = uri or f"sqlite:///{folder / 'db' / 'meta.sqlite'}"
        self._engine = open_engine(self.uri)
        writable = WritableCatalog(self._engine)
        writable.initialise()
        self._reader = CatalogReader(open_engine(self.uri))
        # Nothing is read in the background: a test sees what the code under test has asked for.
        self._cache = SnapshotCache(self._reader.read, interval_s=3600)
        self._cache.start()
        self.catalog = NodeCatalog(self._cache, is_writer=True)
        self.wal = WriteAheadLog.open(folder / "wal", WalOptions(above_lsn=flushed_lsn(self.catalog.refreshed())))
        self.parts = WriteParts(
            self.catalog,
            DefinitionWriter(writable),
            FileWriter(writable),
            StorageLayout(folder),
            self.wal,
            IdGenerator(),
        )
        self.flusher = Flusher(self.parts)
        self.rewriter = Rewriter(self.parts)
        self.builder = IndexBuilder(self.parts)
        self.collections = CollectionWriter(self.parts, self.flusher, self.rewriter, self.builder)
        self.rows = RowWriter(self.parts, self.flusher, buffer_bytes)
        try:
            self.recovered = recover(self.parts, self.flusher, buffer_bytes)
        except MishardsError:
            self.close()
            raise

    def close(self) -> None:
        """Forget everything that is in memory, as a crash does."""
        self.wal.close()
        self._cache.close()
        self._reader.close()
        self._engine.dispose()

    # --- calls of clients ------------------------------------------------------------------------------------

    def create(self, name: str = "words", *, dimension: int = DIMENSION, index_file_size: int = 1 << 30) -> Collection:
        """Make a collection of L2 vectors."""
        self.collections.create(name, dimension, index_file_size, MetricType.L2)
        return self.collection(name)

    def collection(self, name: str = "words") -> Collection:
        """The collection as the catalog has it now."""
        return self.catalog.refreshed().collection(name)

    def insert(self, ids: Sequence[int] | None, value: float = 0.0, *, rows: int = 0, tag: str = "") -> list[int]:
        """Insert rows whose vectors have ``value`` in every component; without ids, ``rows`` of them."""
        return self.insert_into(self.collection(), ids, value, rows=rows, tag=tag)

    def insert_into(
        self, collection: Collection, ids: Sequence[int] | None, value: float = 0.0, *, rows: int = 0, tag: str = ""
    ) -> list[int]:
        """Insert into a collection that was looked up before."""
        count = rows if ids is None else len(ids)
        vectors = np.full((count, collection.dimension), value, np.float32).view(np.uint8)
        given = None if ids is None else np.asarray(ids, np.int64)
        return [int(i) for i in self.rows.insert(collection, tag, given, vectors, Deadline.after(WAIT_S))]

    def delete(self, ids: Sequence[int], *, tag: str = "") -> None:
        """Delete rows."""
        self.rows.delete(self.collection(), tag, ids, Deadline.after(WAIT_S))

    def flush(self, name: str = "words") -> None:
        """Flush one collection."""
        self.flusher.flush(name)

    # --- what is visible -------------------------------------------------------------------------------------

    def visible(self, name: str = "words", tag: str = "") -> Counter[Row]:
        """The live rows on disk that the catalog names, of all partitions or one, and how often each is there."""
        found: Counter[Row] = Counter()
        collection = self.collection(name)
        for partition in collection.partitions:
            if tag in ("", partition.tag):
                for segment in partition.segments:
                    found.update(self._segment(segment.table_id, segment.segment_id, collection.dimension))
        return found

    def ids(self, name: str = "words", tag: str = "") -> list[int]:
        """The ids of the live rows, sorted, each as often as it is there."""
        return sorted(row[0] for row in self.visible(name, tag).elements())

    def _segment(self, table_id: str, segment_id: str, dimension: int) -> list[Row]:
        folder = self.parts.layout.segment(table_id, segment_id)
        vectors: NDArray[np.float32] = folder.read_vectors(np.float32, dimension)
        live = np.ones(folder.row_count(), np.bool_)
        live[folder.read_deleted()] = False
        return [(int(i), float(v[0])) for i, v in zip(folder.read_ids()[live], vectors[live], strict=True)]

    def folders(self, table_id: str = "words") -> set[str]:
        """The segments of a table that have a folder."""
        path = self.parts.layout.table_path(table_id)
        return {entry.name for entry in path.iterdir()} if path.exists() else set()


OpenWritePath = Callable[..., WritePath]
