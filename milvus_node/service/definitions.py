"""Changes of collections, partitions and index definitions over RPC."""

from __future__ import annotations

from milvus_node.catalog import NodeCatalog
from milvus_node.ingest.collections import CollectionWriter
from milvus_node.ingest.rows import find_partition
from mishards.catalog.snapshot import Collection
from mishards.transport.api import Call
from mishards.wire import limits, names, params
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status

MB = 1 << 20


class WriteDefinitions:
    """The calls that change definitions; the writable role serves them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog, collections: CollectionWriter) -> None:
        self._catalog = catalog
        self._collections = collections

    def create_collection(self, call: Call) -> bytes:
        """CreateCollection."""
        request = pb.CollectionSchema.FromString(call.request)
        names.check_collection_name(request.collection_name)
        limits.check_dimension(request.dimension, request.metric_type)
        limits.check_index_file_size(request.index_file_size)
        metric = limits.check_metric(request.metric_type)
        self._collections.create(request.collection_name, request.dimension, request.index_file_size * MB, metric)
        return _ok()

    def drop_collection(self, call: Call) -> bytes:
        """DropCollection."""
        self._collections.drop(self._find(pb.CollectionName.FromString(call.request).collection_name))
        return _ok()

    def create_index(self, call: Call) -> bytes:
        """CreateIndex."""
        request = pb.IndexParam.FromString(call.request)
        collection = self._find(request.collection_name)
        index_type = limits.check_index_type(request.index_type, collection.metric)
        given = params.build_params(index_type, collection.metric, collection.dimension, request.extra_params)
        self._collections.create_index(collection, index_type, params.canonical_json(given), call.deadline)
        return _ok()

    def drop_index(self, call: Call) -> bytes:
        """DropIndex."""
        collection = self._find(pb.CollectionName.FromString(call.request).collection_name)
        self._collections.drop_index(collection, call.deadline)
        return _ok()

    def create_partition(self, call: Call) -> bytes:
        """CreatePartition."""
        request = pb.PartitionParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        tag = names.check_new_tag(request.tag)
        collection = self._catalog.known().collection(request.collection_name)
        limits.check_partition_count(len(collection.partitions) - 1)
        self._collections.create_partition(collection, tag)
        return _ok()

    def drop_partition(self, call: Call) -> bytes:
        """DropPartition."""
        request = pb.PartitionParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        tag = names.check_dropped_tag(request.tag)
        collection = self._catalog.known().collection(request.collection_name)
        self._collections.drop_partition(collection, find_partition(collection, tag))
        return _ok()

    def _find(self, name: str) -> Collection:
        names.check_collection_name(name)
        return self._catalog.known().collection(name)


def _ok() -> bytes:
    return ok_status().SerializeToString()
