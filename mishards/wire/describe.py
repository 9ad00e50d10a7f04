"""Answers that the catalog alone can give: they need no node, and survive the loss of the writable one.

Each takes an encoded request and the snapshot, and returns the encoded reply; pure. Texts and order of checks are the
protocol's. A partition's internal name is not a collection: to clients it does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from mishards.catalog.snapshot import Collection, Partition, Segment, Snapshot
from mishards.errors import MalformedRequest
from mishards.kinds import IndexType
from mishards.wire.names import check_collection_name, trim_tag
from mishards.wire.protos import milvus_pb2
from mishards.wire.replies import ok_status

_M = TypeVar("_M", bound=Message)

Answer = Callable[[bytes, Snapshot], bytes]

_INDEX_NAMES = MappingProxyType(
    {
        IndexType.FLAT: "IDMAP",
        IndexType.BIN_FLAT: "IDMAP",
        IndexType.IVF_FLAT: "IVFFLAT",
        IndexType.BIN_IVF_FLAT: "IVFFLAT",
        IndexType.IVF_SQ8: "IVFSQ8",
        IndexType.IVF_SQ8H: "IVFSQ8H",
        IndexType.RNSG: "NSG",
        IndexType.IVF_PQ: "PQ",
        IndexType.HNSW: "HNSW",
        IndexType.ANNOY: "ANNOY",
        IndexType.SPTAG_KDT: "KDT",
        IndexType.SPTAG_BKT: "BKT",
    }
)


def has_collection(request: bytes, snapshot: Snapshot) -> bytes:
    """HasCollection."""
    name = _name(request)
    check_collection_name(name)
    return _encoded(milvus_pb2.BoolReply(status=ok_status(), bool_reply=name in snapshot.collections))


def describe_collection(request: bytes, snapshot: Snapshot) -> bytes:
    """DescribeCollection."""
    collection = _named(request, snapshot)
    return _encoded(
        milvus_pb2.CollectionSchema(
            status=ok_status(),
            collection_name=collection.name,
            dimension=collection.dimension,
            index_file_size=collection.table.index_file_size >> 20,
            metric_type=collection.metric,
        )
    )


def count_collection(request: bytes, snapshot: Snapshot) -> bytes:
    """CountCollection."""
    collection = _named(request, snapshot)
    return _encoded(milvus_pb2.CollectionRowCount(status=ok_status(), collection_row_count=collection.rows))


def show_collections(_request: bytes, snapshot: Snapshot) -> bytes:
    """ShowCollections; the request's content is ignored, as the protocol has it."""
    return _encoded(milvus_pb2.CollectionNameList(status=ok_status(), collection_names=list(snapshot.collections)))


def show_collection_info(request: bytes, snapshot: Snapshot) -> bytes:
    """ShowCollectionInfo."""
    collection = _named(request, snapshot)
    info = {
        "partitions": [_partition_info(partition) for partition in collection.partitions],
        "row_count": collection.rows,
    }
    text = json.dumps(info, sort_keys=True, separators=(",", ":"))
    return _encoded(milvus_pb2.CollectionInfo(status=ok_status(), json_info=text))


def describe_index(request: bytes, snapshot: Snapshot) -> bytes:
    """DescribeIndex."""
    collection = _named(request, snapshot)
    params = milvus_pb2.KeyValuePair(key="params", value=collection.index_params)
    return _encoded(
        milvus_pb2.IndexParam(
            status=ok_status(),
            collection_name=collection.name,
            index_type=collection.index_type.on_the_wire,
            extra_params=[params],
        )
    )


def has_partition(request: bytes, snapshot: Snapshot) -> bytes:
    """HasPartition; the tag's form is not checked, as the protocol has it."""
    asked = _parsed(milvus_pb2.PartitionParam, request)
    check_collection_name(asked.collection_name)
    collection = snapshot.collection(asked.collection_name)
    found = trim_tag(asked.tag) in collection.partition_tags
    return _encoded(milvus_pb2.BoolReply(status=ok_status(), bool_reply=found))


def show_partitions(request: bytes, snapshot: Snapshot) -> bytes:
    """ShowPartitions."""
    collection = _named(request, snapshot)
    return _encoded(milvus_pb2.PartitionList(status=ok_status(), partition_tag_array=collection.partition_tags))


ANSWERS: Mapping[str, Answer] = MappingProxyType(
    {
        "HasCollection": has_collection,
        "DescribeCollection": describe_collection,
        "CountCollection": count_collection,
        "ShowCollections": show_collections,
        "ShowCollectionInfo": show_collection_info,
        "DescribeIndex": describe_index,
        "HasPartition": has_partition,
        "ShowPartitions": show_partitions,
    }
)
"""The methods that are answered from the catalog."""


def _partition_info(partition: Partition) -> dict[str, object]:
    segments = [_segment_info(segment) for segment in partition.segments]
    return {"row_count": partition.rows, "segments": segments or None, "tag": partition.tag}


def _segment_info(segment: Segment) -> dict[str, object]:
    return {
        "data_size": segment.file.file_size,
        "index_name": _INDEX_NAMES.get(IndexType(segment.file.engine_type), "IDMAP"),
        "name": segment.segment_id,
        "row_count": segment.rows,
    }


def _named(request: bytes, snapshot: Snapshot) -> Collection:
    name = _name(request)
    check_collection_name(name)
    return snapshot.collection(name)


def _name(request: bytes) -> str:
    name: str = _parsed(milvus_pb2.CollectionName, request).collection_name
    return name


def _parsed(kind: type[_M], request: bytes) -> _M:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise MalformedRequest(f"the request is no {kind.DESCRIPTOR.name}: {error}") from error


def _encoded(reply: Message) -> bytes:
    return reply.SerializeToString()
