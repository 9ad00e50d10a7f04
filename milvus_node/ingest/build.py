"""Index builds: a raw segment gets an index file beside it.

The raw file stays (as BACKUP): deletes, get-by-id and compaction work on it, and it serves where the index file cannot
be read. A build needs no lock; only the switch does.
"""

from __future__ import annotations

import json
from pathlib import Path

from milvus_node.index.api import BuildParams, Storable
from milvus_node.index.factory import prepare
from milvus_node.index.file import save
from milvus_node.ingest.parts import WriteParts
from milvus_node.search.segment import stored_vectors
from mishards.catalog.files import Expected, NewFile
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Collection, Segment
from mishards.errors import CatalogConflict, CollectionNotFound
from mishards.kinds import IndexType


class IndexBuilder:
    """Builds the index of segments that wait as TO_INDEX. Safe from any thread."""

    def __init__(self, parts: WriteParts) -> None:
        self._parts = parts

    def waiting(self, name: str) -> list[Segment]:
        """Segments of a collection whose index is not built."""
        collection = self._parts.catalog.known().collection(name)
        return [segment for segment in collection.segments if segment.file.file_type == FileType.TO_INDEX]

    def build(self, name: str, segment: Segment) -> bool:
        """Build one segment's index; False when the segment or the index definition changed under it.

        Raises:
            BuildFailed: the parameters do not fit the rows.
            StorageError, CatalogUnavailable: the segment stays raw and waits; or the switch went through although its
                answer was lost, so the file stays where it is.
        """
        if segment.segment_id not in {waiting.segment_id for waiting in self.waiting(name)}:
            return False  # superseded before its turn came, so its files may be gone
        with self._parts.tasks.timed("build"):
            return self._built(name, segment)

    def _built(self, name: str, segment: Segment) -> bool:
        collection = self._parts.catalog.known().collection(name)
        folder = self._parts.layout.segment(segment.table_id, segment.segment_id)
        with self._parts.layout.damaged.watch(folder.path):
            vectors = stored_vectors(folder, collection)
            vectors.verify()
        params = BuildParams.of(json.loads(collection.index_params))
        index = prepare(collection.index_type.on_the_wire, collection.metric, vectors, params)
        file_id = self._parts.ids.one()
        folder.write_file(file_id, lambda path: _saved(index, path))
        size = folder.path_of(file_id).stat().st_size
        done = self._switch(collection, segment, file_id, size)
        if not done:
            folder.remove_file(file_id)
        return done

    def _switch(self, collection: Collection, segment: Segment, file_id: str, size: int) -> bool:
        with self._parts.locks.structure(collection.name):
            try:
                current = self._parts.catalog.refreshed().collection(collection.name)
            except CollectionNotFound:
                return False
            if (current.index_type, current.index_params) != (collection.index_type, collection.index_params):
                return False
            raw = next((s.file for s in current.segments if s.segment_id == segment.segment_id), None)
            if raw is None or raw.file_type != FileType.TO_INDEX:
                return False
            new = NewFile(
                segment.table_id,
                segment.segment_id,
                file_id,
                FileType.INDEX,
                IndexType(collection.index_type),
                size,
                raw.row_count,
            )
            try:
                self._parts.files.index_built(Expected.of(raw), new)
            except CatalogConflict:
                return False
            self._parts.catalog.refreshed()
            return True


def _saved(index: Storable, path: Path) -> None:
    save(index, path)
