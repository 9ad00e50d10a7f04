"""A node in this process, called with messages as a client sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.waiting import eventually
from milvus_node.assembly import Node
from mishards.deadline import Deadline
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS

WAIT_S = 20.0


def quieten(node: Node) -> None:
    """End the background work of an open node, which merges small segments about a second after they were flushed."""
    eventually(lambda: node._term is not None, WAIT_S, "the node leads")
    assert node._term is not None
    for loop in node._term.loops:
        loop.stop(WAIT_S)


class Rpc:
    """Calls a node; each method of the protocol is an attribute that takes the fields of its request."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        self.node = node
        self._loop = loop
        self._serve = node.open()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda **fields: self.call(method, METHODS[method].request(**fields))

    def call(self, method: str, request: Any, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        """Send a message and return the reply."""
        reply = self._loop.run_until_complete(self.begin(method, request, metadata))
        return METHODS[method].reply.FromString(reply)

    def begin(self, method: str, request: Any, metadata: Sequence[tuple[str, str]] = ()) -> Awaitable[bytes]:
        """Send a message; the reply is still encoded."""
        return self._serve(Call(method, request.SerializeToString(), metadata, Deadline.after(WAIT_S)))

    # --- what most tests need ----------------------------------------------------------------------------------------

    def create(self, name: str = "words", *, dimension: int = 4, metric: int = 1, megabytes: int = 64) -> None:
        """Make a collection."""
        ok(
            self.CreateCollection(
                collection_name=name, dimension=dimension, index_file_size=megabytes, metric_type=metric
            )
        )

    def insert(self, vectors: Any, ids: Sequence[int] = (), *, name: str = "words", tag: str = "") -> list[int]:
        """Insert rows, flush them, and return their ids."""
        reply = self.Insert(
            collection_name=name, row_record_array=records(vectors), row_id_array=ids, partition_tag=tag
        )
        ok(reply)
        ok(self.Flush(collection_name_array=[name]))
        return list(reply.vector_id_array)

    def search(self, vectors: Any, topk: int = 3, *, name: str = "words", tags: Sequence[str] = ()) -> Any:
        """Search without parameters."""
        return self.call("Search", search_param(vectors, topk, name=name, tags=tags))

    def file_ids(self, name: str = "words") -> list[str]:
        """The catalog's ids of the files to search, as a router sends them."""
        collection = self.node._catalog.refreshed().collection(name)
        return [str(segment.file.id) for segment in collection.segments]


def records(vectors: Any) -> list[Any]:
    """Rows of float32 or uint8 as the protocol has them."""
    rows = np.asarray(vectors)
    if rows.dtype == np.uint8:
        return [pb.RowRecord(binary_data=row.tobytes()) for row in rows]
    return [pb.RowRecord(float_data=row.tolist()) for row in rows]


def search_param(
    vectors: Any, topk: int = 3, *, name: str = "words", tags: Sequence[str] = (), json: str = "{}"
) -> Any:
    """A search."""
    return pb.SearchParam(
        collection_name=name,
        partition_tag_array=tags,
        query_record_array=records(vectors),
        topk=topk,
        extra_params=[pb.KeyValuePair(key="params", value=json)],
    )


def floats(*values: float) -> NDArray[np.float32]:
    """Rows of four equal components."""
    return np.repeat(np.asarray(values, np.float32)[:, None], 4, axis=1)


def status(reply: Any) -> tuple[int, str]:
    """Code and reason of a reply."""
    found = getattr(reply, "status", reply)
    return found.error_code, found.reason


def ok(reply: Any) -> Any:
    """The reply, which is a success."""
    assert status(reply) == (0, "OK")
    return reply
