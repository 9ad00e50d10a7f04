"""Insert, DeleteByID, Flush and Compact over RPC."""

from __future__ import annotations

import numpy as np

from milvus_node.catalog import NodeCatalog
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.rewrite import Rewriter
from milvus_node.ingest.rows import RowWriter, check_id_mode
from mishards.catalog.records import IdMode
from mishards.transport.api import Call
from mishards.wire import limits, names
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status
from mishards.wire.vectors import InsertEnvelope, check_rows, encode_ids, vector_rows


class WriteCalls:
    """The calls that change rows; the writable role serves them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog, rows: RowWriter, flusher: Flusher, rewriter: Rewriter) -> None:
        self._catalog = catalog
        self._rows = rows
        self._flusher = flusher
        self._rewriter = rewriter

    def insert(self, call: Call) -> bytes:
        """Insert."""
        request = InsertEnvelope.scan(call.request)
        names.check_collection_name(request.collection_name)
        check_rows(request.rows)
        limits.check_insert_ids(len(request.ids), len(request.rows))
        collection = self._catalog.known().collection(request.collection_name)
        check_id_mode(collection, IdMode.USER if len(request.ids) else IdMode.GENERATED)
        rows = np.ascontiguousarray(vector_rows(request.rows, collection.dimension, collection.metric))
        limits.check_insert_size(rows.nbytes)
        vectors = rows.view(np.uint8)
        ids = request.ids if len(request.ids) else None
        given = self._rows.insert(collection, names.trim_tag(request.partition_tag), ids, vectors, call.deadline)
        return encode_ids(given)

    def delete_by_id(self, call: Call) -> bytes:
        """DeleteByID."""
        request = pb.DeleteByIDParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        collection = self._catalog.known().collection(request.collection_name)
        tag = names.trim_tag(request.partition_tag)
        self._rows.delete(collection, tag, request.id_array, call.deadline)
        return ok_status().SerializeToString()

    def flush(self, call: Call) -> bytes:
        """Flush; without names, everything."""
        request = pb.FlushParam.FromString(call.request)
        if not request.collection_name_array:
            self._flusher.flush_all(call.deadline)
        for name in request.collection_name_array:
            self._catalog.known().collection(name)
            self._flusher.flush(name, call.deadline)
        return ok_status().SerializeToString()

    def compact(self, call: Call) -> bytes:
        """Compact."""
        name = pb.CollectionName.FromString(call.request).collection_name
        names.check_collection_name(name)
        self._catalog.known().collection(name)
        self._rewriter.compact(name)
        return ok_status().SerializeToString()
