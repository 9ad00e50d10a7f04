"""Have a node load segments: the protocol has no call that loads named files, but a search of them does, on any node.

It is a search for one vector of zeros, with topk 1, in exactly these files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mishards.catalog.snapshot import Collection, Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import NodeFault
from mishards.transport.api import Metadata
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status
from mishards.wire.search import search_in_files

_ANY_INDEX = json.dumps({"nprobe": 1, "ef": 1, "search_k": 1, "search_length": 10})
"""The least of what every kind of index asks for."""


class LoadRefused(NodeFault):
    """A node answered that it has not loaded them; ``status`` is what it said."""

    def __init__(self, address: str, status: Status) -> None:
        super().__init__(address, f"segments are not loaded: {status.reason}")
        self.status = status


async def load(
    node: Node, collection: Collection, segments: Sequence[Segment], *, deadline: Deadline, metadata: Metadata = ()
) -> None:
    """Return once the node has loaded the segments, of which there is at least one.

    Raises:
        LoadRefused: it says that it cannot.
        NodeError: it does not answer.
    """
    files = [segment.file.id for segment in segments]
    raw = search_in_files(files, loading_search(collection))
    reply = pb.TopKQueryResult.FromString(await node.call("SearchInFiles", raw, deadline=deadline, metadata=metadata))
    if reply.status.error_code:
        raise LoadRefused(node.record.address, reply.status)


def loading_search(collection: Collection) -> bytes:
    """The encoded ``SearchParam`` that makes a node load the files it is asked to search, for the least of work."""
    size = collection.metric.vector_bytes(collection.dimension)
    zeros = bytes(size)
    record = (
        pb.RowRecord(binary_data=zeros) if collection.metric.is_binary else pb.RowRecord(float_data=[0.0] * (size // 4))
    )
    return pb.SearchParam(
        collection_name=collection.name,
        query_record_array=[record],
        topk=1,
        extra_params=[pb.KeyValuePair(key="params", value=_ANY_INDEX)],
    ).SerializeToString()
