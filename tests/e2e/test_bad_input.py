"""What cannot be served gets a clear answer, from node and router alike, and nothing is lost or half-written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from harness.rpc import Rpc, params, records
from harness.servers import cluster, node
from harness.vectors import gaussian
from mishards.wire.protos import milvus_pb2 as pb

DIM = 16
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["node", "router"])
def rpc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rpc]:
    folder = tmp_path_factory.mktemp(request.param)
    server = node(folder) if request.param == "node" else cluster(folder)
    with server, Rpc(server.launch()) as connected:
        yield connected


@pytest.fixture
def name(rpc: Rpc) -> Iterator[str]:
    """A collection with ten rows that must still be there, and searched, after whatever the test sends."""
    made = f"bad_{next(_numbers)}"
    base = gaussian(10, DIM)
    assert (
        rpc.call("CreateCollection", collection_name=made, dimension=DIM, index_file_size=16, metric_type=1).error_code
        == 0
    )
    inserted = rpc.call("Insert", collection_name=made, row_record_array=records(base), row_id_array=range(10))
    assert inserted.status.error_code == 0
    assert rpc.call("Flush", collection_name_array=[made]).error_code == 0
    yield made
    assert rpc.call("Flush", collection_name_array=[made]).error_code == 0
    assert rpc.call("CountCollection", collection_name=made).collection_row_count == 10
    found = search(rpc, made, records(base[3:4]))
    assert list(found.ids) == [3]


def search(rpc: Rpc, name: str, rows: list[pb.RowRecord], topk: int = 1, text: str = "{}") -> Any:
    return rpc.call("Search", collection_name=name, query_record_array=rows, topk=topk, extra_params=params(text))


def status(reply: Any) -> tuple[int, str]:
    found = getattr(reply, "status", reply)
    return found.error_code, found.reason


def test_no_rows_to_search_or_to_insert(rpc: Rpc, name: str) -> None:
    expected = (11, "The vector array is empty. Make sure you have entered vector records.")
    assert status(search(rpc, name, [])) == expected
    assert status(rpc.call("Insert", collection_name=name)) == expected
    assert status(rpc.call("Insert", collection_name=name, row_record_array=[pb.RowRecord()])) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(rpc: Rpc, name: str, value: float) -> None:
    vectors = gaussian(2, DIM)
    vectors[1, 3] = value
    code, reason = status(search(rpc, name, records(vectors)))
    assert code == 11
    assert "Vector 1" in reason
    code, reason = status(
        rpc.call("Insert", collection_name=name, row_record_array=records(vectors), row_id_array=[1, 2])
    )
    assert code == 11
    assert "Vector 1" in reason


def test_rows_of_another_width(rpc: Rpc, name: str) -> None:
    expected = (7, "The vector dimension must be equal to the collection dimension.")
    wrong = records(gaussian(2, DIM + 1))
    assert status(search(rpc, name, wrong)) == expected
    assert status(rpc.call("Insert", collection_name=name, row_record_array=wrong, row_id_array=[1, 2])) == expected
    binary = [pb.RowRecord(binary_data=b"\x01\x02")]
    assert status(rpc.call("Insert", collection_name=name, row_record_array=binary, row_id_array=[1]))[0] == 7


def test_ids_that_do_not_fit_the_rows(rpc: Rpc, name: str) -> None:
    reply = rpc.call("Insert", collection_name=name, row_record_array=records(gaussian(2, DIM)), row_id_array=[1])
    assert status(reply) == (12, "The size of vector ID array must be equal to the size of the vector.")


@pytest.mark.parametrize("topk", [0, -1, 16385, 2**40])
def test_a_topk_out_of_range(rpc: Rpc, name: str, topk: int) -> None:
    expected = (10, f"Invalid topk: {topk}. The topk must be within the range of 1 ~ 16384.")
    assert status(search(rpc, name, records(gaussian(1, DIM)), topk)) == expected


def test_parameters_that_are_no_json_end_the_call(rpc: Rpc, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        search(rpc, name, records(gaussian(1, DIM)), text='{"nprobe": ')
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    with pytest.raises(grpc.RpcError):
        rpc.call("CreateIndex", collection_name=name, index_type=2, extra_params=params("nonsense"))


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("{}", 5, "Parameter list must contain: nlist"),
        ('{"nlist": 0}', 5, "Invalid nlist value: 0. Valid range is [1, 65536]"),
        (
            '{"nlist": true}',
            5,
            "Invalid nlist: [json.exception.type_error.302] type must be number, but is boolean",
        ),
    ],
)
def test_index_parameters_that_do_not_fit(rpc: Rpc, name: str, text: str, code: int, reason: str) -> None:
    reply = rpc.call("CreateIndex", collection_name=name, index_type=2, extra_params=params(text))
    assert status(reply) == (code, reason)


def test_bytes_that_are_no_message(rpc: Rpc, name: str) -> None:
    whole = pb.SearchParam(collection_name=name, query_record_array=records(gaussian(4, DIM)), topk=1)
    insert = pb.InsertParam(collection_name=name, row_record_array=records(gaussian(4, DIM)), row_id_array=range(4))
    for method, message in (("Search", whole), ("Insert", insert)):
        with pytest.raises(grpc.RpcError) as caught:
            rpc.raw(method, message.SerializeToString()[:-5])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError):
        rpc.raw("CountCollection", b"\xff\xff\xff")


def test_a_method_that_is_not_served(rpc: Rpc, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        rpc.raw("HybridSearch", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_insert_of_300_megabytes(rpc: Rpc, name: str) -> None:
    dimension = 8192
    wide = f"{name}_wide"
    rpc.call("CreateCollection", collection_name=wide, dimension=dimension, index_file_size=64, metric_type=1)
    row = np.zeros(dimension, np.float32).tobytes()
    packed = b"\x0a\x80\x80\x02" + row  # field 1, length 32768
    record = b"\x12" + bytes([0x84, 0x80, 0x02]) + packed
    request = pb.InsertParam(collection_name=wide).SerializeToString() + record * 9600
    reply = pb.VectorIds.FromString(rpc.raw("Insert", request, timeout_s=60))
    assert status(reply) == (11, "The amount of data inserted each time cannot exceed 256 MB")
    assert rpc.call("CountCollection", collection_name=wide).collection_row_count == 0
    rpc.call("DropCollection", collection_name=wide)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"collection_name": "", "dimension": 8, "index_file_size": 16, "metric_type": 1}, 9),
        ({"collection_name": "1bad", "dimension": 8, "index_file_size": 16, "metric_type": 1}, 9),
        ({"collection_name": "../etc", "dimension": 8, "index_file_size": 16, "metric_type": 1}, 9),
        ({"collection_name": "x", "dimension": 0, "index_file_size": 16, "metric_type": 1}, 7),
        ({"collection_name": "x", "dimension": 40000, "index_file_size": 16, "metric_type": 1}, 7),
        ({"collection_name": "x", "dimension": 8, "index_file_size": 0, "metric_type": 1}, 5),
        ({"collection_name": "x", "dimension": 8, "index_file_size": 16, "metric_type": 9}, 23),
        ({"collection_name": "x", "dimension": 9, "index_file_size": 16, "metric_type": 3}, 7),
    ],
)
def test_a_collection_that_cannot_be(rpc: Rpc, name: str, fields: dict[str, Any], code: int) -> None:
    assert status(rpc.call("CreateCollection", **fields))[0] == code
    assert "x" not in rpc.call("ShowCollections").collection_names


def test_a_name_that_is_taken(rpc: Rpc, name: str) -> None:
    reply = rpc.call("CreateCollection", collection_name=name, dimension=8, index_file_size=16, metric_type=1)
    assert status(reply) == (9, "Collection already exists")
