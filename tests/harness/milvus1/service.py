"""The RPCs of one node: which group serves them, and what of gRPC a client sees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import grpc

from harness.milvus1.hooks import Hooks, Killed
from harness.milvus1.kinds import Refused
from harness.milvus1.read_calls import ReadCalls
from harness.milvus1.write_calls import Commands, WriteCalls
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos.status_pb2 import Status

_SERVICE = "milvus.grpc.MilvusService"

Group = Literal["dql", "ddl_dml", "info"]


@dataclass(frozen=True)
class Method:
    """One RPC: its messages, the group whose only thread serves it, and what it does."""

    group: Group
    request: Any
    reply: Any
    run: Callable[[Any], Any]


def methods(read: ReadCalls, write: WriteCalls, commands: Commands) -> dict[str, Method]:
    """Return every RPC by its name; the hybrid ones are not implemented, as in the real server."""
    name, tag, load = pb.CollectionName, pb.PartitionParam, pb.PreloadCollectionParam
    return {
        "Search": Method("dql", pb.SearchParam, pb.TopKQueryResult, read.search),
        "SearchInFiles": Method("dql", pb.SearchInFilesParam, pb.TopKQueryResult, read.search_in_files),
        "SearchByID": Method("dql", pb.SearchByIDParam, pb.TopKQueryResult, read.search_by_id),
        "PreloadCollection": Method("dql", load, Status, write.preload),
        "ReleaseCollection": Method("dql", load, Status, write.release),
        "ReloadSegments": Method("dql", pb.ReLoadSegmentsParam, Status, write.reload_segments),
        "CreateCollection": Method("ddl_dml", pb.CollectionSchema, Status, write.create_collection),
        "DropCollection": Method("ddl_dml", name, Status, write.drop_collection),
        "CreatePartition": Method("ddl_dml", tag, Status, write.create_partition),
        "DropPartition": Method("ddl_dml", tag, Status, write.drop_partition),
        "CreateIndex": Method("ddl_dml", pb.IndexParam, Status, write.create_index),
        "DropIndex": Method("ddl_dml", name, Status, write.drop_index),
        "Insert": Method("ddl_dml", pb.InsertParam, pb.VectorIds, write.insert),
        "DeleteByID": Method("ddl_dml", pb.DeleteByIDParam, Status, write.delete_by_id),
        "Flush": Method("ddl_dml", pb.FlushParam, Status, write.flush),
        "Compact": Method("ddl_dml", name, Status, write.compact),
        "Cmd": Method("info", pb.Command, pb.StringReply, commands.answer),
        "HasCollection": Method("info", name, pb.BoolReply, read.has_collection),
        "DescribeCollection": Method("info", name, pb.CollectionSchema, read.describe_collection),
        "CountCollection": Method("info", name, pb.CollectionRowCount, read.count_collection),
        "ShowCollections": Method("info", pb.Command, pb.CollectionNameList, read.show_collections),
        "ShowCollectionInfo": Method("info", name, pb.CollectionInfo, read.show_collection_info),
        "DescribeIndex": Method("info", name, pb.IndexParam, read.describe_index),
        "HasPartition": Method("info", tag, pb.BoolReply, read.has_partition),
        "ShowPartitions": Method("info", name, pb.PartitionList, read.show_partitions),
        "GetVectorsByID": Method("info", pb.VectorsIdentity, pb.VectorsData, read.get_vectors_by_id),
        "GetVectorIDs": Method("info", pb.GetVectorIDsParam, pb.VectorIds, read.get_vector_ids),
    }


class Service(grpc.GenericRpcHandler):
    """Hands each call to the one thread of its group, and waits there for its turn.

    A call whose client has gone is carried out all the same.
    """

    def __init__(self, served: Mapping[str, Method], hooks: Hooks, drop: Callable[[], None]) -> None:
        """Serve ``served``; ``drop`` breaks all connections of the node and may be called from any thread."""
        self._hooks = hooks
        self._drop = drop
        self._numbers: Iterator[int] = itertools.count(1)
        self._groups = {group: ThreadPoolExecutor(1, f"milvus1-{group}") for group in ("dql", "ddl_dml", "info")}
        self._handlers = {f"/{_SERVICE}/{name}": self._handler(name, method) for name, method in served.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Find the handler of a call; gRPC asks."""
        return self._handlers.get(handler_call_details.method)

    def close(self) -> None:
        """Wait for what the groups are doing; nothing waits in line any more."""
        for group in self._groups.values():
            group.shutdown(cancel_futures=True)

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            if self._hooks.takes_drop(name):
                self._drop()
                _abandon(context)
            # A number of our own, unless the caller has sent one: then no initial metadata at all.
            if "request_id" not in {key for key, _ in context.invocation_metadata()}:
                context.send_initial_metadata((("request_id", str(next(self._numbers))),))
            try:
                return self._groups[method.group].submit(self._run, name, method, request).result()
            except Killed:
                _abandon(context)

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=method.request.FromString, response_serializer=method.reply.SerializeToString
        )

    def _run(self, name: str, method: Method, request: Any) -> Any:
        """Carry out one call; its status says how it went, and success says ``OK``."""
        try:
            self._hooks.begin(name)
            reply = method.run(request)
            status = Status(reason="OK")
        except Refused as refused:
            reply, status = method.reply(), Status(error_code=refused.code, reason=refused.reason)  # type: ignore[arg-type] # a plain number
        (reply if isinstance(reply, Status) else reply.status).CopyFrom(status)
        return reply


def _abandon(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the double has broken the connection")
    raise AssertionError("abort returns")  # pragma: no cover - it raises
