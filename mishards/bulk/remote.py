"""The calls that bulk work makes of a router or a node, from outside like any client.

Vectors cross this module as arrays: no object is made of a row. Nothing is retried here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from mishards.bulk.sources.api import Ids, Vectors
from mishards.config import client_access
from mishards.deadline import Deadline
from mishards.errors import Code, ServerRefused
from mishards.kinds import DEFAULT_TAG, IndexType, MetricType
from mishards.transport.api import Channel
from mishards.transport.bearer import BearerTransport
from mishards.transport.choice import transport_of
from mishards.wire.protos import milvus_pb2, status_pb2
from mishards.wire.replies import status_of
from mishards.wire.scan import varint_bytes
from mishards.wire.varints import encode_varints
from mishards.wire.vectors import Rows, encode_rows, split_rows, vector_rows

Reply = TypeVar("Reply", bound=Message)

_CALL_S = 120.0
_INDEX_S = 24 * 3600.0
_ROWS_TAG, _IDS_TAG, _VECTORS_FIELD = b"\x12", b"\x1a", 2
"""Fields 2 and 3 of InsertParam; field 2 of VectorsData."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a collection is made with."""

    name: str
    dimension: int
    metric: MetricType
    index_file_size: int = 1024
    """MB."""

    @property
    def width(self) -> int:
        """Values of a row: floats, or bytes."""
        return self.dimension // 8 if self.metric.is_binary else self.dimension


@dataclass(frozen=True, slots=True)
class Part:
    """A partition: its tag, live rows and the names of its segments."""

    tag: str
    rows: int
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a collection; ``params`` is JSON."""

    type: IndexType
    params: str


class Remote:
    """A server to work on. Belongs to the event loop of its channel.

    Every method raises ServerRefused where the reply's status is no success, and NodeError where there is none.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.address = channel.address

    async def call(
        self, method: str, request: Message | bytes, reply_type: type[Reply], timeout_s: float = _CALL_S
    ) -> Reply:
        """Call one RPC."""
        return reply_type.FromString(await self.raw(method, request, timeout_s))

    async def raw(self, method: str, request: Message | bytes, timeout_s: float = _CALL_S) -> bytes:
        """Call one RPC; the reply, a success, stays encoded."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        reply = await self._channel.call(method, data, deadline=Deadline.after(timeout_s))
        code, reason = status_of(method, reply)
        if code != Code.SUCCESS:
            raise ServerRefused(f"{self.address} refused {method} with code {int(code)}: {reason}", int(code))
        return reply

    async def schema(self, name: str) -> Schema | None:
        """What a collection is; None where there is none of that name."""
        asked = milvus_pb2.CollectionName(collection_name=name)
        if not (await self.call("HasCollection", asked, milvus_pb2.BoolReply)).bool_reply:
            return None
        found = await self.call("DescribeCollection", asked, milvus_pb2.CollectionSchema)
        return Schema(name, found.dimension, MetricType(found.metric_type), found.index_file_size)

    async def create(self, schema: Schema) -> None:
        """Create a collection."""
        request = milvus_pb2.CollectionSchema(
            collection_name=schema.name,
            dimension=schema.dimension,
            metric_type=schema.metric,
            index_file_size=schema.index_file_size,
        )
        await self.call("CreateCollection", request, status_pb2.Status)

    async def has_partition(self, name: str, tag: str) -> bool:
        """Is there a partition of that tag?"""
        asked = milvus_pb2.PartitionParam(collection_name=name, tag=tag)
        return (await self.call("HasPartition", asked, milvus_pb2.BoolReply)).bool_reply

    async def create_partition(self, name: str, tag: str) -> None:
        """Create a partition."""
        await self.call("CreatePartition", milvus_pb2.PartitionParam(collection_name=name, tag=tag), status_pb2.Status)

    async def insert(self, name: str, tag: str, ids: Ids, vectors: Vectors) -> None:
        """Insert rows with their ids."""
        head = milvus_pb2.InsertParam(collection_name=name, partition_tag=tag).SerializeToString()
        packed = encode_varints(ids)
        request = b"".join((head, encode_rows(_ROWS_TAG, vectors), _IDS_TAG, varint_bytes(len(packed)), packed))
        await self.raw("Insert", request)

    async def flush(self, name: str) -> None:
        """Make what was inserted visible."""
        await self.call("Flush", milvus_pb2.FlushParam(collection_name_array=[name]), status_pb2.Status)

    async def parts(self, name: str) -> list[Part]:
        """The partitions, ``_default`` first."""
        asked = milvus_pb2.CollectionName(collection_name=name)
        info = json.loads((await self.call("ShowCollectionInfo", asked, milvus_pb2.CollectionInfo)).json_info or "{}")
        return [
            Part(part["tag"], part["row_count"], tuple(segment["name"] for segment in part["segments"] or ()))
            for part in info.get("partitions", ())
        ]

    async def count(self, name: str) -> int:
        """The live rows that are visible."""
        asked = milvus_pb2.CollectionName(collection_name=name)
        return (await self.call("CountCollection", asked, milvus_pb2.CollectionRowCount)).collection_row_count

    async def segment_ids(self, name: str, segment: str) -> Ids:
        """The ids of a segment's live rows, int64[n]."""
        asked = milvus_pb2.GetVectorIDsParam(collection_name=name, segment_name=segment)
        reply = await self.call("GetVectorIDs", asked, milvus_pb2.VectorIds)
        return np.array(reply.vector_id_array, np.int64)

    async def vectors(self, schema: Schema, tag: str, ids: Ids) -> tuple[Vectors, NDArray[np.bool_]]:
        """The vectors that are stored under at most 1000 ids: those found, in order, and which were found, bool[n]."""
        # A Milvus 1.1.0 server finds nothing under the tag of the default partition.
        asked = milvus_pb2.VectorsIdentity(
            collection_name=schema.name, partition_tag="" if tag == DEFAULT_TAG else tag, id_array=ids.tolist()
        )
        reply = await self.raw("GetVectorsByID", asked)
        rows, _ = split_rows(reply, 0, len(reply), _VECTORS_FIELD)
        found: NDArray[np.bool_] = np.repeat(
            np.array([run.size > 0 for run in rows.runs], np.bool_), [run.records for run in rows.runs]
        )
        full = Rows(reply, tuple(run for run in rows.runs if run.size))
        if not len(full):
            none: Vectors = np.empty((0, schema.width), np.uint8) if schema.metric.is_binary else _no_floats(schema)
            return none, found
        return vector_rows(full, schema.dimension, schema.metric), found

    async def index(self, name: str) -> Index:
        """The index of a collection."""
        found = await self.call("DescribeIndex", milvus_pb2.CollectionName(collection_name=name), milvus_pb2.IndexParam)
        params = next((pair.value for pair in found.extra_params if pair.key == "params"), "{}")
        return Index(IndexType(found.index_type), params)

    async def create_index(self, name: str, index: Index) -> None:
        """Build an index; returns when it is built, or was."""
        pair = milvus_pb2.KeyValuePair(key="params", value=index.params)
        request = milvus_pb2.IndexParam(collection_name=name, index_type=index.type, extra_params=[pair])
        await self.call("CreateIndex", request, status_pb2.Status, _INDEX_S)


def _no_floats(schema: Schema) -> NDArray[np.float32]:
    return np.empty((0, schema.width), np.float32)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Remote]:
    """A server at ``host:port``; whether it answers shows with the first call. Raises ConfigError and StartError."""
    access = client_access()
    transport = transport_of(client_tls=access.client)
    if token := access.bearer():
        transport = BearerTransport(transport, token)
    channel = transport.channel(address)
    try:
        yield Remote(channel)
    finally:
        await channel.close()
