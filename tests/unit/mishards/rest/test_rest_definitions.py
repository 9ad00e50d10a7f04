"""Collections, partitions, indexes and segments over HTTP: which calls they become, and what becomes of the replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message

from mishards.errors import CollectionNotFound, IllegalDimension
from mishards.wire.protos import milvus_pb2 as pb

NAMED = pb.CollectionName(collection_name="c")
INDEX_PARAMS = [pb.KeyValuePair(key="params", value='{"nlist":10}')]
STATS = {
    "partitions": [
        {
            "row_count": 3,
            "segments": [{"name": "11", "row_count": 2}, {"name": "12", "row_count": 1}],
            "tag": "_default",
        },
        {"row_count": 0, "segments": None, "tag": "empty"},
        {"row_count": 4, "segments": [{"name": "13", "row_count": 4}], "tag": "p"},
    ],
    "row_count": 7,
}


def partition(tag: str) -> pb.PartitionParam:
    return pb.PartitionParam(collection_name="c", tag=tag)


@pytest.mark.parametrize(
    ("method", "path", "body", "call", "request_message", "status"),
    [
        (
            "POST",
            "/collections",
            {"collection_name": "c", "dimension": 8},
            "CreateCollection",
            pb.CollectionSchema(collection_name="c", dimension=8, index_file_size=1024, metric_type=1),
            201,
        ),
        (
            "POST",
            "/collections",
            {"collection_name": "c", "dimension": 16, "index_file_size": 5, "metric_type": "SUPERSTRUCTURE"},
            "CreateCollection",
            pb.CollectionSchema(collection_name="c", dimension=16, index_file_size=5, metric_type=7),
            201,
        ),
        ("DELETE", "/collections/c", None, "DropCollection", NAMED, 204),
        (
            "POST",
            "/collections/c/indexes",
            {"index_type": "IVFFLAT", "params": {"nlist": 10}},
            "CreateIndex",
            pb.IndexParam(collection_name="c", index_type=2, extra_params=INDEX_PARAMS),
            201,
        ),
        ("DELETE", "/collections/c/indexes", None, "DropIndex", NAMED, 204),
        ("POST", "/collections/c/partitions", {"partition_tag": "Jähr"}, "CreatePartition", partition("Jähr"), 201),
        ("DELETE", "/collections/c/partitions", {"partition_tag": "p"}, "DropPartition", partition("p"), 204),
    ],
)
async def test_a_change_is_one_call_and_its_success_one_status(
    api: Any, method: str, path: str, body: object, call: str, request_message: Message, status: int
) -> None:
    response = await api.send(method, path, json=body) if body is not None else await api.send(method, path)
    assert api.requests() == [(call, request_message)]
    assert response.status_code == status
    assert response.content == (b"" if status == 204 else b'{"message":"OK","code":0}')


def describe(api: Any) -> None:
    api.replies["DescribeCollection"] = lambda request: pb.CollectionSchema(
        collection_name=request.collection_name, dimension=8, index_file_size=64, metric_type=2
    )
    api.replies["CountCollection"] = pb.CollectionRowCount(collection_row_count=7)
    api.replies["DescribeIndex"] = pb.IndexParam(index_type=11, extra_params=INDEX_PARAMS)


def described(name: str) -> dict[str, Any]:
    return {
        "collection_name": name,
        "dimension": 8,
        "index_file_size": 64,
        "metric_type": "IP",
        "count": 7,
        "index": "HNSW",
        "index_params": '{"nlist":10}',
    }


async def test_a_collection_is_described_with_its_rows_and_its_index(api: Any) -> None:
    describe(api)
    assert await api.get("/collections/c") == described("c")
    assert {method for method, _ in api.requests()} == {"DescribeCollection", "CountCollection", "DescribeIndex"}
    assert all(request == NAMED for _, request in api.requests())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", [f"c{n}" for n in range(10)]),
        ("?offset=10", ["c10", "c11"]),
        ("?offset=3&page_size=2", ["c3", "c4"]),
        ("?offset=0&page_size=0", []),
        ("?offset=99", []),
        ("?page_size=1&all_required=true", [f"c{n}" for n in range(12)]),
        ("?page_size=1&all_required=False", ["c0"]),
    ],
)
async def test_collections_come_in_pages_with_the_number_of_all(api: Any, query: str, names: list[str]) -> None:
    describe(api)
    api.replies["ShowCollections"] = pb.CollectionNameList(collection_names=[f"c{n}" for n in range(12)])
    assert await api.get(f"/collections{query}") == {"collections": [described(name) for name in names], "count": 12}


async def test_a_collection_that_is_dropped_while_they_are_listed_is_left_out(api: Any) -> None:
    describe(api)
    api.replies["ShowCollections"] = pb.CollectionNameList(collection_names=["gone", "c"])
    there, gone = api.replies["DescribeCollection"], CollectionNotFound("gone")
    api.replies["DescribeCollection"] = lambda request: gone if request.collection_name == "gone" else there(request)
    assert await api.get("/collections") == {"collections": [described("c")], "count": 2}


async def test_another_error_of_one_collection_is_the_lists_error(api: Any) -> None:
    describe(api)
    api.replies["ShowCollections"] = pb.CollectionNameList(collection_names=["c"])
    api.replies["CountCollection"] = IllegalDimension("odd")
    response = await api.send("GET", "/collections")
    assert (response.status_code, response.json()) == (400, {"message": "odd", "code": 7})


async def test_the_statistics_of_a_collection_are_handed_through_as_they_are(api: Any) -> None:
    text = '{"partitions":[],"row_count":0}'
    api.replies["ShowCollectionInfo"] = pb.CollectionInfo(json_info=text)
    response = await api.send("GET", "/collections/c?info=stat")
    assert (response.text, response.headers["content-type"]) == (text, "application/json")
    assert api.requests() == [("ShowCollectionInfo", NAMED)]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "FLAT"),
        (2, "IVFFLAT"),
        (3, "IVFSQ8"),
        (4, "RNSG"),
        (5, "IVFSQ8H"),
        (6, "IVFPQ"),
        (11, "HNSW"),
        (12, "ANNOY"),
    ],
)
async def test_an_index_has_the_name_that_it_is_made_by(api: Any, number: int, name: str) -> None:
    api.replies["DescribeIndex"] = pb.IndexParam(index_type=number, extra_params=INDEX_PARAMS)
    assert await api.get("/collections/c/indexes") == {"index_type": name, "params": {"nlist": 10}}
    await api.send("POST", "/collections/c/indexes", json={"index_type": name, "params": {}})
    assert api.requests()[-1][1].index_type == number


async def test_partitions_come_in_pages_with_the_number_of_all(api: Any) -> None:
    tags = ["_default", "a", "ü", "c"]
    api.replies["ShowPartitions"] = pb.PartitionList(partition_tag_array=tags)
    found = await api.get("/collections/c/partitions?offset=1&page_size=2")
    assert found == {"partitions": [{"partition_tag": "a"}, {"partition_tag": "ü"}], "count": 4}
    assert api.requests() == [("ShowPartitions", NAMED)]


@pytest.mark.parametrize(
    ("query", "names", "count"),
    [
        ("", ["11", "12", "13"], 3),
        ("?partition_tag=p", ["13"], 1),
        ("?partition_tag=empty", [], 0),
        ("?partition_tag=nowhere", [], 0),
        ("?offset=1&page_size=1", ["12"], 3),
    ],
)
async def test_segments_come_with_their_partition(api: Any, query: str, names: list[str], count: int) -> None:
    api.replies["ShowCollectionInfo"] = pb.CollectionInfo(json_info=json.dumps(STATS))
    found = await api.get(f"/collections/c/segments{query}")
    assert (found["code"], found["message"], found["count"]) == (0, "OK", count)
    assert [segment["name"] for segment in found["segments"]] == names
    tags = {"11": "_default", "12": "_default", "13": "p"}
    assert all(segment["partition_tag"] == tags[segment["name"]] for segment in found["segments"])
    assert all(segment["row_count"] for segment in found["segments"])


async def test_the_ids_of_a_segment_come_in_pages(api: Any) -> None:
    api.replies["GetVectorIDs"] = pb.VectorIds(vector_id_array=[2**63 - 1, -5, 7])
    assert await api.get("/collections/c/segments/11/ids?page_size=2") == {"ids": [str(2**63 - 1), "-5"], "count": 3}
    assert api.requests() == [("GetVectorIDs", pb.GetVectorIDsParam(collection_name="c", segment_name="11"))]


async def test_the_vectors_of_a_segment_are_fetched_no_more_than_a_thousand_at_once(api: Any) -> None:
    ids = list(range(2500))
    api.replies["GetVectorIDs"] = pb.VectorIds(vector_id_array=ids)
    api.replies["GetVectorsByID"] = lambda request: pb.VectorsData(
        vectors_data=[pb.RowRecord(float_data=[number, 0.5]) for number in request.id_array]
    )
    found = await api.get("/collections/c/segments/11/vectors?offset=100&page_size=2200")
    assert found["count"] == 2500
    assert found["vectors"] == [{"id": str(n), "vector": [float(n), 0.5]} for n in ids[100:2300]]
    assert [len(request.id_array) for method, request in api.requests() if method == "GetVectorsByID"] == [
        1000,
        1000,
        200,
    ]


async def test_an_empty_page_of_vectors_asks_for_none(api: Any) -> None:
    api.replies["GetVectorIDs"] = pb.VectorIds(vector_id_array=[1])
    assert await api.get("/collections/c/segments/11/vectors?offset=1") == {"vectors": [], "count": 1}
    assert len(api.calls) == 1
