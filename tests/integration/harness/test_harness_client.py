from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from harness import vectors
from harness.client import ClientRaised, Hits, RemoteClient
from mishards.kinds import MetricType
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos import status_pb2

_OK = status_pb2.Status(error_code=status_pb2.SUCCESS, reason="OK")
_ROWS = vectors.gaussian(5, 8)


class _Server(grpc.GenericRpcHandler):
    """Answers five methods of the protocol with fixed replies and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.replies: dict[str, tuple[type[Any], Any]] = {
            "Cmd": (pb.Command, pb.StringReply(status=_OK, string_reply="1.1.0")),
            "CreateCollection": (
                pb.CollectionSchema,
                status_pb2.Status(error_code=status_pb2.ILLEGAL_COLLECTION_NAME, reason="bad name"),
            ),
            "Insert": (pb.InsertParam, pb.VectorIds(status=_OK, vector_id_array=range(5))),
            "Search": (pb.SearchParam, _search_result()),
            "GetVectorsByID": (pb.VectorsIdentity, _stored_vectors()),
        }

    def service(self, handler_call_details: Any) -> Any:
        answer = self.replies.get(handler_call_details.method.rpartition("/")[2])
        if answer is None:
            return None
        request_type, reply = answer

        def handle(request: Any, _: Any) -> Any:
            self.requests.append(request)
            return reply

        return grpc.unary_unary_rpc_method_handler(
            handle, request_type.FromString, lambda message: message.SerializeToString()
        )


def _search_result() -> pb.TopKQueryResult:
    return pb.TopKQueryResult(status=_OK, row_num=2, ids=[7, 3, 5, -1], distances=[0.1, 0.25, 1e-30, 3.4e38])


def _stored_vectors() -> pb.VectorsData:
    return pb.VectorsData(status=_OK, vectors_data=[pb.RowRecord(binary_data=b"\x01\xff"), pb.RowRecord()])


@pytest.fixture
def server() -> _Server:
    return _Server()


@pytest.fixture
def address(server: _Server) -> Iterator[str]:
    with ThreadPoolExecutor(4) as pool:
        running = grpc.server(pool, handlers=[server])
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"127.0.0.1:{port}"
        running.stop(None).wait(10)


@pytest.fixture
def client(connect: Callable[..., RemoteClient], address: str) -> RemoteClient:
    return connect(address)


def test_a_search_returns_hits_without_the_ids_that_mean_nothing(client: RemoteClient, server: _Server) -> None:
    queries = vectors.gaussian(2, 8, seed=3)
    reply = client.call("search", collection_name="c", top_k=2, query_records=queries, params={"nprobe": 16})
    assert reply.ok
    assert reply.value == Hits([[7, 3], [5]], [[np.float32(0.1), 0.25], [np.float32(1e-30)]])
    request = server.requests[-1]
    assert (request.topk, request.extra_params[0].value) == (2, '{"nprobe":16}')
    np.testing.assert_array_equal([list(row.float_data) for row in request.query_record_array], queries)


def test_vectors_reach_the_server_unchanged(client: RemoteClient, server: _Server) -> None:
    assert client.call("insert", collection_name="c", records=_ROWS, ids=[1, 2, 3, 4, 5]).value == [0, 1, 2, 3, 4]
    request = server.requests[-1]
    np.testing.assert_array_equal([list(row.float_data) for row in request.row_record_array], _ROWS)
    assert list(request.row_id_array) == [1, 2, 3, 4, 5]
    bits = vectors.bits(3, 16)
    client.call("insert", collection_name="c", records=bits)
    assert [row.binary_data for row in server.requests[-1].row_record_array] == [row.tobytes() for row in bits]


def test_stored_bit_vectors_come_back_as_bytes(client: RemoteClient) -> None:
    assert client.call("get_entity_by_id", collection_name="c", ids=[1, 2]).value[0] == b"\x01\xff"


def test_a_failure_has_the_servers_code_and_text(client: RemoteClient) -> None:
    schema = {"collection_name": "c", "dimension": 8, "index_file_size": 1024, "metric_type": MetricType.L2}
    reply = client.call("create_collection", param=schema)
    assert (reply.ok, reply.code, reply.message) == (False, 9, "bad name")


def test_plain_values_come_with_an_ok_status(client: RemoteClient) -> None:
    assert client.call("server_version").value == "1.1.0"
    assert client.call("client_version").value == "1.1.2"


def test_what_the_client_raises_is_raised_here(client: RemoteClient) -> None:
    with pytest.raises(ClientRaised, match="topk") as raised:
        client.call("search", collection_name="c", top_k="many", query_records=_ROWS)
    assert raised.value.kind == "ParamError"
    assert client.call("server_version").ok


def test_a_server_that_is_not_there_is_a_connect_error(pymilvus_python: Any) -> None:
    with pytest.raises(ClientRaised, match="Fail connecting") as raised:
        RemoteClient(pymilvus_python, "127.0.0.1:1", wait_timeout=0.2, max_retry=1)
    assert raised.value.kind == "NotConnectError"
