"""A segment in memory: an index over local rows, the rows' ids, and which rows are deleted."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from milvus_node.errors import IndexUnreadable, SegmentDamaged, SegmentMissing
from milvus_node.index.api import BuildParams, VectorIndex
from milvus_node.index.factory import build
from milvus_node.index.file import Shape, load
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.segment_folder import SegmentFolder
from milvus_node.storage.stored_vectors import StoredVectors
from mishards.catalog.snapshot import Collection, Segment
from mishards.kinds import IndexType

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Deleted rows as of a version of the segment; ``mask`` is bool[rows], None when nothing is deleted."""

    version: int
    mask: NDArray[np.bool_] | None
    count: int


class LoadedSegment:
    """What a search needs of one segment. The index and the ids never change; the tombstones are replaced."""

    def __init__(
        self, folder: SegmentFolder, ids: NDArray[np.int64], index: VectorIndex, tombstones: Tombstones
    ) -> None:
        self._folder = folder
        self.ids = ids
        self.index = index
        self._tombstones = tombstones
        self._refreshing = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        mask = self._tombstones.mask
        return int(self.index.memory_bytes + self.ids.nbytes + (0 if mask is None else mask.nbytes))

    @property
    def tombstones(self) -> Tombstones:
        """The deleted rows as last read."""
        return self._tombstones

    def tombstones_at(self, version: int) -> Tombstones:
        """The deleted rows, read again where they are older than ``version``.

        Raises:
            StorageError: they cannot be read.
        """
        if self._tombstones.version < version:
            with self._refreshing:
                if self._tombstones.version < version:
                    self._tombstones = read_tombstones(self._folder, self.ids, version)
        return self._tombstones


def read_tombstones(folder: SegmentFolder, ids: NDArray[np.int64], version: int) -> Tombstones:
    """The deleted rows on disk of the segment with these ``ids``; they are at least as new as ``version``."""
    deleted = folder.read_deleted(ids)
    if not len(deleted):
        return Tombstones(version, None, 0)
    mask = np.zeros(len(ids), np.bool_)
    mask[deleted] = True
    return Tombstones(version, mask, int(np.count_nonzero(mask)))


def load_segment(layout: StorageLayout, collection: Collection, segment: Segment) -> LoadedSegment:
    """Read a segment from the shared folder.

    An index file that is damaged or of an unknown format is passed over: the raw vectors serve instead.

    Raises:
        SegmentMissing, SegmentDamaged: the raw files are missing or damaged too; the message names them.
    """
    folder = layout.segment(segment.table_id, segment.segment_id)
    with layout.damaged.watch(folder.path):
        ids = folder.read_ids()
        index = _index(folder, collection, segment, len(ids))
        tombstones = read_tombstones(folder, ids, segment.version)
    return LoadedSegment(folder, ids, index, tombstones)


def _index(folder: SegmentFolder, collection: Collection, segment: Segment, rows: int) -> VectorIndex:
    if segment.is_indexed:
        file_id = segment.file.file_id
        try:
            folder.verify_file(file_id)
            return load(folder.path_of(file_id), Shape(collection.metric, rows, collection.dimension))
        except (SegmentDamaged, SegmentMissing, IndexUnreadable) as error:
            log.warning("index file is passed over, the raw vectors serve instead: %s", error)
    return build(IndexType.FLAT, collection.metric, raw_vectors(folder, collection), BuildParams())


def raw_vectors(folder: SegmentFolder, collection: Collection) -> NDArray[np.float32] | NDArray[np.uint8]:
    """All stored vectors: float32[rows, dim] or uint8[rows, dim / 8]."""
    if collection.metric.is_binary:
        return folder.read_vectors(np.uint8, collection.dimension // 8)
    return folder.read_vectors(np.float32, collection.dimension)


def stored_vectors(
    folder: SegmentFolder, collection: Collection
) -> StoredVectors[np.float32] | StoredVectors[np.uint8]:
    """All stored vectors, to be read in parts: float32[rows, dim] or uint8[rows, dim / 8]."""
    if collection.metric.is_binary:
        return folder.stored_vectors(np.uint8, collection.dimension // 8)
    return folder.stored_vectors(np.float32, collection.dimension)
