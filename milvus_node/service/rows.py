"""GetVectorsByID and GetVectorIDs over RPC: what is stored, not what an index makes of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvus_node.catalog import NodeCatalog
from milvus_node.search.segment import read_tombstones
from milvus_node.service.searches import selected
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.snapshot import Collection, Segment
from mishards.deadline import Deadline
from mishards.errors import PartitionError, SegmentNotFound
from mishards.transport.api import Call
from mishards.wire import limits, names
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.vectors import encode_ids, encode_vectors


class EmptyPlace(PartitionError):
    """There is no segment to look in."""


class RowCalls:
    """Rows by id; any role serves them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog, layout: StorageLayout) -> None:
        self._catalog = catalog
        self._layout = layout

    def get_vectors_by_id(self, call: Call) -> bytes:
        """GetVectorsByID: one record an id, in the order asked, an empty one where there is no such row."""
        request = pb.VectorsIdentity.FromString(call.request)
        limits.check_id_count(len(request.id_array))
        names.check_collection_name(request.collection_name)
        collection = self._catalog.now().collection(request.collection_name)
        tag = names.trim_tag(request.partition_tag)
        segments = selected(collection, [tag] if tag else [])
        if not segments:
            raise EmptyPlace("Collection or partition is empty")
        wanted = np.asarray(request.id_array, dtype=np.int64)
        vectors, found = self.vectors(collection, segments, wanted, call.deadline)
        return encode_vectors(vectors if collection.metric.is_binary else vectors.view(np.float32), found)

    def vectors(
        self, collection: Collection, segments: tuple[Segment, ...], wanted: NDArray[np.int64], deadline: Deadline
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The stored vectors of these ids, uint8[n, row bytes], and which exist, bool[n]; of duplicates the first.

        Raises:
            StorageError: a segment cannot be read.
            DeadlineExceeded: ``deadline`` passed before the last segment's turn came.
        """
        row_bytes = collection.metric.vector_bytes(collection.dimension)
        vectors = np.zeros((len(wanted), row_bytes), np.uint8)
        missing = np.ones(len(wanted), np.bool_)
        for segment in segments:
            deadline.check(f"ids were looked up in segment {segment.segment_id} of {collection.name}")
            places, rows = self._places(segment, wanted, missing)
            if places.size:
                folder = self._layout.segment(segment.table_id, segment.segment_id)
                vectors[places] = folder.read_rows(rows, np.uint8, row_bytes)
                missing[places] = False
            if not missing.any():
                break
        return vectors, ~missing

    def _places(
        self, segment: Segment, wanted: NDArray[np.int64], missing: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Which of the ids still missing the segment has, as places in ``wanted``, and the row of each."""
        folder = self._layout.segment(segment.table_id, segment.segment_id)
        ids = folder.read_ids()
        candidates = np.flatnonzero(np.isin(ids, wanted[missing]))
        mask = read_tombstones(folder, ids, segment.version).mask if candidates.size else None
        if mask is not None:
            candidates = candidates[~mask[candidates]]
        first_row: dict[int, int] = {}
        for row in candidates.tolist():
            first_row.setdefault(int(ids[row]), row)
        places = [place for place in np.flatnonzero(missing).tolist() if int(wanted[place]) in first_row]
        return np.asarray(places, np.intp), np.asarray([first_row[int(wanted[p])] for p in places], np.int64)

    def get_vector_ids(self, call: Call) -> bytes:
        """GetVectorIDs: the live ids of one segment in row order."""
        request = pb.GetVectorIDsParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        snapshot = self._catalog.now()
        collection = snapshot.collection(request.collection_name)
        for segment in collection.segments:
            if segment.segment_id == request.segment_name:
                return encode_ids(self._live_ids(segment))
        known = {s.segment_id for other in snapshot.collections.values() for s in other.segments}
        if request.segment_name in known:
            raise SegmentNotFound("Segment does not belong to this collection")
        raise SegmentNotFound("Segment does not exist")

    def _live_ids(self, segment: Segment) -> NDArray[np.int64]:
        folder = self._layout.segment(segment.table_id, segment.segment_id)
        ids = folder.read_ids()
        mask = read_tombstones(folder, ids, segment.version).mask
        return ids if mask is None else ids[~mask]
