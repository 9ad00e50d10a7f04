"""Calls of the protocol as plain Python, for tests that speak to one node directly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from harness.milvus1.kinds import Metric
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status

_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


@dataclass(frozen=True)
class Found:
    """The reply of a search, cut into rows as a merging client has to: the width is ids over ``row_num``."""

    code: int
    reason: str
    row_num: int
    ids: list[list[int]]
    distances: list[list[float]]


class NodeClient:
    """A channel to one node; every call has a deadline of ``timeout_s``."""

    def __init__(self, address: str, timeout_s: float = 20) -> None:
        self._channel = grpc.insecure_channel(address, options=_UNLIMITED)
        self._timeout_s = timeout_s

    def __enter__(self) -> NodeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def begin(self, method: str, request: Any, reply: Any = Status, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        """Send a call and return its ``grpc.Future``."""
        stub = self._channel.unary_unary(
            f"/milvus.grpc.MilvusService/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        return stub.future(request, timeout=self._timeout_s, metadata=tuple(metadata))

    def call(self, method: str, request: Any, reply: Any = Status) -> Any:
        """Return the reply to a call."""
        return self.begin(method, request, reply).result()

    def create(self, name: str, dimension: int, metric: Metric = Metric.L2, index_file_size: int = 1024) -> Status:
        """Create a collection."""
        request = pb.CollectionSchema(collection_name=name, dimension=dimension, metric_type=metric)
        request.index_file_size = index_file_size
        return self._status("CreateCollection", request)

    def _status(self, method: str, request: Any) -> Status:
        status: Status = self.call(method, request)
        return status

    def insert(self, name: str, rows: NDArray[Any], ids: Iterable[int] = (), tag: str = "") -> pb.VectorIds:
        """Insert ``float32[n, dim]`` or ``uint8[n, dim / 8]``."""
        request = pb.InsertParam(collection_name=name, row_record_array=records(rows), partition_tag=tag)
        request.row_id_array.extend(ids)
        reply: pb.VectorIds = self.call("Insert", request, pb.VectorIds)
        return reply

    def flush(self, *names: str) -> Status:
        """Flush collections, or all."""
        return self._status("Flush", pb.FlushParam(collection_name_array=names))

    def delete(self, name: str, ids: Iterable[int]) -> Status:
        """Delete by id."""
        return self._status("DeleteByID", pb.DeleteByIDParam(collection_name=name, id_array=ids))

    def create_index(self, name: str, index_type: int, params: str = '{"nlist":4}') -> Status:
        """Build an index and wait for it."""
        return self._status("CreateIndex", _index(name, index_type, params))

    def begin_create_index(self, name: str, index_type: int, params: str = '{"nlist":4}') -> Any:
        """Begin to build an index and return a future."""
        return self.begin("CreateIndex", _index(name, index_type, params))

    def on(self, method: str, name: str) -> Status:
        """Call a method that takes a collection's name and returns a status."""
        return self._status(method, pb.CollectionName(collection_name=name))

    def reload(self, name: str, ids: Iterable[object]) -> Status:
        """Call ReloadSegments."""
        texts = [str(number) for number in ids]
        return self._status("ReloadSegments", pb.ReLoadSegmentsParam(collection_name=name, segment_id_array=texts))

    def count(self, name: str) -> int:
        """Return what CountCollection says."""
        reply = self.call("CountCollection", pb.CollectionName(collection_name=name), pb.CollectionRowCount)
        return int(reply.collection_row_count)

    def command(self, text: str) -> pb.StringReply:
        """Call ``Cmd``."""
        reply: pb.StringReply = self.call("Cmd", pb.Command(cmd=text), pb.StringReply)
        return reply

    def search(
        self, name: str, queries: NDArray[Any], topk: int, params: str = "{}", tags: Iterable[str] = ()
    ) -> Found:
        """Search a collection."""
        return _found(self.call("Search", search_param(name, queries, topk, params, tags), pb.TopKQueryResult))

    def search_files(
        self, name: str, ids: Iterable[object], queries: NDArray[Any], topk: int, params: str = "{}"
    ) -> Found:
        """Search files by their row ids."""
        return _found(self.begin_search_files(name, ids, queries, topk, params).result())

    def begin_search_files(
        self, name: str, ids: Iterable[object], queries: NDArray[Any], topk: int, params: str = "{}"
    ) -> Any:
        """Begin to search files and return a future of the raw reply."""
        texts = [str(number) for number in ids]
        request = pb.SearchInFilesParam(file_id_array=texts, search_param=search_param(name, queries, topk, params))
        return self.begin("SearchInFiles", request, pb.TopKQueryResult)


def records(rows: NDArray[Any]) -> list[pb.RowRecord]:
    """Return vectors as the protocol's records: bytes where they are ``uint8``."""
    if rows.dtype == np.uint8:
        return [pb.RowRecord(binary_data=row.tobytes()) for row in rows]
    return [pb.RowRecord(float_data=row.tolist()) for row in rows]


def search_param(
    name: str, queries: NDArray[Any], topk: int, params: str = "{}", tags: Iterable[str] = ()
) -> pb.SearchParam:
    """Return the request of a search."""
    request = pb.SearchParam(collection_name=name, query_record_array=records(queries), topk=topk)
    request.partition_tag_array.extend(tags)
    request.extra_params.add(key="params", value=params)
    return request


def _index(name: str, index_type: int, params: str) -> pb.IndexParam:
    pair = pb.KeyValuePair(key="params", value=params)
    return pb.IndexParam(collection_name=name, index_type=index_type, extra_params=[pair])


def _found(reply: pb.TopKQueryResult) -> Found:
    width = len(reply.ids) // reply.row_num if reply.row_num else 0
    starts = range(0, width * reply.row_num, width or 1)
    ids = [list(reply.ids[start : start + width]) for start in starts]
    distances = [list(reply.distances[start : start + width]) for start in starts]
    return Found(reply.status.error_code, reply.status.reason, reply.row_num, ids, distances)
