"""Rows and searches over HTTP: which calls they become, and what becomes of the replies."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from mishards.errors import CollectionNotFound
from mishards.wire.protos import milvus_pb2 as pb

PATH = "/collections/c/vectors"
FLOATS = [[0.5, 1.0, -3e10], [2.0, 0.1, 4.0]]
BYTES = [[0, 255], [7, 8]]
NO_PARAMS = [pb.KeyValuePair(key="params", value="{}")]


def floats(rows: list[list[float]]) -> list[pb.RowRecord]:
    return [pb.RowRecord(float_data=row) for row in rows]


def metric(api: Any, number: int) -> None:
    api.replies["DescribeCollection"] = pb.CollectionSchema(collection_name="c", dimension=16, metric_type=number)


async def test_floats_are_inserted_without_a_look_at_the_collection(api: Any) -> None:
    api.replies["Insert"] = pb.VectorIds(vector_id_array=[5, 2**62])
    body = {"vectors": FLOATS, "ids": ["5", str(2**62)], "partition_tag": "p"}
    response = await api.send("POST", PATH, json=body)
    assert (response.status_code, response.json()) == (201, {"ids": ["5", str(2**62)]})
    expected = pb.InsertParam(
        collection_name="c", row_record_array=floats(FLOATS), row_id_array=[5, 2**62], partition_tag="p"
    )
    assert api.requests() == [("Insert", expected)]


async def test_ids_may_be_numbers_and_may_be_missing(api: Any) -> None:
    await api.send("POST", PATH, json={"vectors": FLOATS, "ids": [1, -2]})
    await api.send("POST", PATH, json={"vectors": FLOATS, "ids": None})
    assert [list(request.row_id_array) for _, request in api.requests()] == [[1, -2], []]


@pytest.mark.parametrize(
    ("number", "records"),
    [
        (1, floats([[0, 255], [7, 8]])),
        (2, floats([[0, 255], [7, 8]])),
        (3, [pb.RowRecord(binary_data=b"\x00\xff"), pb.RowRecord(binary_data=b"\x07\x08")]),
        (7, [pb.RowRecord(binary_data=b"\x00\xff"), pb.RowRecord(binary_data=b"\x07\x08")]),
    ],
)
async def test_whole_numbers_are_what_the_metric_of_the_collection_says(
    api: Any, number: int, records: list[pb.RowRecord]
) -> None:
    metric(api, number)
    await api.send("POST", PATH, json={"vectors": BYTES})
    await api.send("PUT", PATH, json={"search": {"topk": 1, "vectors": BYTES}})
    requests = dict(api.requests())
    assert list(requests["Insert"].row_record_array) == records
    assert list(requests["Search"].query_record_array) == records


async def test_an_unknown_collection_is_reported_by_the_call_itself(api: Any) -> None:
    api.replies["DescribeCollection"] = api.replies["Insert"] = CollectionNotFound("c")
    response = await api.send("POST", PATH, json={"vectors": BYTES})
    assert (response.status_code, response.json()["code"]) == (404, 4)
    assert [method for method, _ in api.requests()] == ["DescribeCollection", "Insert"]


@pytest.mark.parametrize("value", [256, -1])
async def test_what_is_no_byte_is_refused_in_a_binary_vector(api: Any, value: int) -> None:
    metric(api, 3)
    response = await api.send("POST", PATH, json={"vectors": [[1, value]]})
    assert (response.status_code, response.json()["code"]) == (400, 35)


@pytest.mark.parametrize(
    "rows", [[], [[]], [[1.5], [1.5, 2.5]], [[1.5], []], [[], []]], ids=["none", "empty", "uneven", "part", "empties"]
)
async def test_rows_that_fit_no_collection_travel_as_they_are(api: Any, rows: list[list[float]]) -> None:
    await api.send("POST", PATH, json={"vectors": rows})
    ((method, request),) = api.requests()
    assert method == "Insert"
    assert [list(record.float_data) for record in request.row_record_array] == rows


async def test_a_number_too_large_for_a_float_becomes_infinite_and_the_handler_decides(api: Any) -> None:
    await api.send("POST", PATH, json={"vectors": [[1e300, 0.0]]})
    ((_, request),) = api.requests()
    assert list(request.row_record_array[0].float_data) == [np.inf, 0.0]


async def test_a_large_insert_is_the_same_as_a_small_one(api: Any) -> None:
    rows = np.random.default_rng(3).standard_normal((3000, 64), np.float32)
    await api.send("POST", PATH, json={"vectors": rows.tolist()})
    ((_, request),) = api.requests()
    sent = np.array([record.float_data[:] for record in request.row_record_array], np.float32)
    np.testing.assert_array_equal(sent, rows)


async def test_rows_are_fetched_by_id_and_a_missing_one_is_empty(api: Any) -> None:
    records = [pb.RowRecord(float_data=[0.1, 2.5]), pb.RowRecord(), pb.RowRecord(binary_data=b"\x00\x80")]
    api.replies["GetVectorsByID"] = pb.VectorsData(vectors_data=records)
    found = await api.get(f"{PATH}?ids=1,-2,{2**63 - 1}&partition_tag=p")
    assert found == {
        "message": "OK",
        "code": 0,
        "vectors": [
            {"id": "1", "vector": [0.1, 2.5]},
            {"id": "-2", "vector": []},
            {"id": str(2**63 - 1), "vector": [0, 128]},
        ],
    }
    wanted = pb.VectorsIdentity(collection_name="c", id_array=[1, -2, 2**63 - 1], partition_tag="p")
    assert api.requests() == [("GetVectorsByID", wanted)]


async def test_a_delete_names_ids_and_maybe_a_partition(api: Any) -> None:
    response = await api.send("PUT", PATH, json={"delete": {"ids": ["1", "2"], "partition_tag": "p"}})
    assert (response.status_code, response.json()) == (200, {"code": 0, "message": "success"})
    wanted = pb.DeleteByIDParam(collection_name="c", id_array=[1, 2], partition_tag="p")
    assert api.requests() == [("DeleteByID", wanted)]


async def test_a_search_by_vectors_carries_tags_and_params(api: Any) -> None:
    search = {"topk": 3, "vectors": FLOATS, "partition_tags": ["a", "b.*"], "params": {"nprobe": 4, "x": "ü"}}
    await api.send("PUT", PATH, json={"search": search})
    wanted = pb.SearchParam(
        collection_name="c",
        partition_tag_array=["a", "b.*"],
        query_record_array=floats(FLOATS),
        topk=3,
        extra_params=[pb.KeyValuePair(key="params", value='{"nprobe":4,"x":"ü"}')],
    )
    assert api.requests() == [("Search", wanted)]


@pytest.mark.parametrize("files", [["7", "8"], [7, 8]])
async def test_a_search_in_files_names_them(api: Any, files: list[object]) -> None:
    await api.send("PUT", PATH, json={"search": {"topk": 3, "vectors": FLOATS, "file_ids": files}})
    search = pb.SearchParam(collection_name="c", query_record_array=floats(FLOATS), topk=3, extra_params=NO_PARAMS)
    assert api.requests() == [("SearchInFiles", pb.SearchInFilesParam(file_id_array=["7", "8"], search_param=search))]


async def test_a_search_in_no_files_is_one_in_the_collection(api: Any) -> None:
    await api.send("PUT", PATH, json={"search": {"topk": 3, "vectors": FLOATS, "file_ids": []}})
    assert [method for method, _ in api.requests()] == ["Search"]


async def test_a_search_by_ids_carries_no_vectors(api: Any) -> None:
    await api.send("PUT", PATH, json={"search": {"topk": 2, "ids": ["9", "8"], "partition_tags": ["p"]}})
    wanted = pb.SearchByIDParam(
        collection_name="c", partition_tag_array=["p"], id_array=[9, 8], topk=2, extra_params=NO_PARAMS
    )
    assert api.requests() == [("SearchByID", wanted)]


async def test_hits_are_texts_with_six_decimals_and_what_pads_a_row_is_seen(api: Any) -> None:
    api.replies["Search"] = pb.TopKQueryResult(
        row_num=2, ids=[7, -1, 2**62, 8], distances=[0.25, 3.4028234663852886e38, -1.5, np.inf]
    )
    response = await api.send("PUT", PATH, json={"search": {"topk": 2, "vectors": FLOATS}})
    assert response.json() == {
        "num": 2,
        "result": [
            [
                {"id": "7", "distance": "0.250000"},
                {"id": "-1", "distance": "340282346638528859811704183484516925440.000000"},
            ],
            [{"id": str(2**62), "distance": "-1.500000"}, {"id": "8", "distance": "inf"}],
        ],
    }


async def test_no_segment_to_search_is_no_row(api: Any) -> None:
    response = await api.send("PUT", PATH, json={"search": {"topk": 2, "vectors": FLOATS}})
    assert response.json() == {"num": 0, "result": []}


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 20_000), (3000, 7), (90, 91), (1, 8192), (2, 8192)])
async def test_any_number_of_hits_arrives_whole(api: Any, rows: int, width: int) -> None:
    ids = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, rows * width)
    distances = np.random.default_rng(2).standard_normal(rows * width, np.float32)
    api.replies["Search"] = pb.TopKQueryResult(row_num=rows, ids=ids.tolist(), distances=distances.tolist())
    response = await api.send("PUT", PATH, json={"search": {"topk": 2, "vectors": FLOATS}})
    body = response.json()
    assert body["num"] == rows
    assert [len(row) for row in body["result"]] == [width] * rows
    hits = [hit for row in body["result"] for hit in row]
    assert [int(hit["id"]) for hit in hits] == ids.tolist()
    assert all(re.fullmatch(r"-?\d+\.\d{6}", hit["distance"]) for hit in hits)
    np.testing.assert_allclose([float(hit["distance"]) for hit in hits], distances, atol=5.1e-7)
