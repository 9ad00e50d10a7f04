"""Collections, partitions and index definitions over RPC."""

from __future__ import annotations

import json

from milvus_node.catalog import NodeCatalog
from milvus_node.ingest.collections import CollectionWriter
from milvus_node.ingest.rows import find_partition
from mishards.catalog.snapshot import Collection, Partition, Segment
from mishards.kinds import IndexType
from mishards.transport.api import Call
from mishards.wire import limits, names, params
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status

MB = 1 << 20

_STATS_NAMES = {
    IndexType.FLAT: "IDMAP",
    IndexType.IVF_FLAT: "IVFFLAT",
    IndexType.IVF_SQ8: "IVFSQ8",
    IndexType.RNSG: "NSG",
    IndexType.IVF_SQ8H: "IVFSQ8H",
    IndexType.IVF_PQ: "PQ",
    IndexType.SPTAG_KDT: "KDT",
    IndexType.SPTAG_BKT: "BKT",
    IndexType.HNSW: "HNSW",
    IndexType.ANNOY: "ANNOY",
}


class ReadDefinitions:
    """The calls that the catalog answers; any role serves them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog) -> None:
        self._catalog = catalog

    def has_collection(self, call: Call) -> bytes:
        """HasCollection."""
        name = pb.CollectionName.FromString(call.request).collection_name
        names.check_collection_name(name)
        found = name in self._catalog.now().collections
        return pb.BoolReply(status=ok_status(), bool_reply=found).SerializeToString()

    def describe_collection(self, call: Call) -> bytes:
        """DescribeCollection."""
        collection = self._named(call)
        return pb.CollectionSchema(
            status=ok_status(),
            collection_name=collection.name,
            dimension=collection.dimension,
            index_file_size=collection.table.index_file_size // MB,
            metric_type=collection.metric,
        ).SerializeToString()

    def count_collection(self, call: Call) -> bytes:
        """CountCollection."""
        collection = self._named(call)
        return pb.CollectionRowCount(status=ok_status(), collection_row_count=collection.rows).SerializeToString()

    def show_collections(self, call: Call) -> bytes:
        """ShowCollections."""
        pb.Command.FromString(call.request)
        listed = list(self._catalog.now().collections)
        return pb.CollectionNameList(status=ok_status(), collection_names=listed).SerializeToString()

    def show_collection_info(self, call: Call) -> bytes:
        """ShowCollectionInfo."""
        info = json.dumps(stats(self._named(call)), separators=(",", ":"), sort_keys=True)
        return pb.CollectionInfo(status=ok_status(), json_info=info).SerializeToString()

    def describe_index(self, call: Call) -> bytes:
        """DescribeIndex."""
        collection = self._named(call)
        return pb.IndexParam(
            status=ok_status(),
            collection_name=collection.name,
            index_type=collection.index_type.on_the_wire,
            extra_params=[pb.KeyValuePair(key="params", value=collection.index_params)],
        ).SerializeToString()

    def has_partition(self, call: Call) -> bytes:
        """HasPartition."""
        request = pb.PartitionParam.FromString(call.request)
        collection = self._find(request.collection_name)
        found = names.trim_tag(request.tag) in collection.partition_tags
        return pb.BoolReply(status=ok_status(), bool_reply=found).SerializeToString()

    def show_partitions(self, call: Call) -> bytes:
        """ShowPartitions."""
        collection = self._named(call)
        return pb.PartitionList(status=ok_status(), partition_tag_array=collection.partition_tags).SerializeToString()

    def _named(self, call: Call) -> Collection:
        return self._find(pb.CollectionName.FromString(call.request).collection_name)

    def _find(self, name: str) -> Collection:
        names.check_collection_name(name)
        return self._catalog.now().collection(name)


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


def stats(collection: Collection) -> dict[str, object]:
    """The object that ShowCollectionInfo encodes."""
    return {
        "partitions": [_partition_stats(partition) for partition in collection.partitions],
        "row_count": collection.rows,
    }


def _partition_stats(partition: Partition) -> dict[str, object]:
    return {
        "row_count": partition.rows,
        "segments": [_segment_stats(segment) for segment in partition.segments] or None,
        "tag": partition.tag,
    }


def _segment_stats(segment: Segment) -> dict[str, object]:
    return {
        "data_size": segment.file.file_size,
        "index_name": _STATS_NAMES.get(IndexType(segment.file.engine_type).on_the_wire, "IDMAP"),
        "name": segment.segment_id,
        "row_count": segment.rows,
    }
