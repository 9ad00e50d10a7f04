"""What is wrong with a request, and how a client learns it."""

from __future__ import annotations

from typing import Any

import pytest

from mishards.errors import (
    BuildFailed,
    CatalogUnavailable,
    CollectionNotFound,
    DeadlineExceeded,
    IllegalTopK,
    MalformedParams,
    MishardsError,
    NodeRejected,
    NodeUnavailable,
    NoWritableNode,
    Overloaded,
    PartitionError,
    RpcStatus,
    UnknownMethod,
    WriteRefused,
)
from mishards.rest.errors import RestCode, refusal

VECTORS = "/collections/c/vectors"
ROWS = [[0.5]]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (IllegalTopK(0, 16384), 400, 10),
        (CollectionNotFound("c"), 404, 4),
        (PartitionError("The specified partition does not exist"), 400, 1),
        (WriteRefused("Insert"), 400, 3),
        (CatalogUnavailable("the database is away"), 400, 15),
        (BuildFailed("no"), 400, 1),
        (NodeUnavailable("n:1", "gone"), 400, 2),
        (MalformedParams("not JSON"), 400, 1),
        (Overloaded("too many"), 429, 1),
        (UnknownMethod("SearchByID"), 501, 1),
        (NoWritableNode("none"), 503, 1),
        (DeadlineExceeded("late"), 504, 1),
    ],
)
async def test_an_error_of_a_call_becomes_a_status_with_its_code_and_text(
    api: Any, error: MishardsError, status: int, code: int
) -> None:
    api.replies["DropCollection"] = error
    response = await api.send("DELETE", "/collections/c")
    assert (response.status_code, response.json()) == (status, {"message": str(error), "code": code})


@pytest.mark.parametrize("rpc_status", [status for status in RpcStatus if status is not RpcStatus.OK])
def test_a_nodes_verdict_on_a_request_is_handed_on_as_the_node_said_it(rpc_status: RpcStatus) -> None:
    status, code, message = refusal(NodeRejected("n:1", "what the node said", rpc_status))
    assert status >= 400
    assert (code, message) == (1, "what the node said")


async def test_a_bug_answers_and_is_logged(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_request: object) -> Any:
        raise ZeroDivisionError("oh")

    api.replies["DropCollection"] = broken
    response = await api.send("DELETE", "/collections/c")
    assert (response.status_code, response.json()) == (500, {"message": "internal error: oh", "code": 1})
    assert "DELETE /collections/c failed in a way that is a bug" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/collections", {"dimension": 8}, RestCode.BODY_FIELD_LOSS),
        ("POST", "/collections", {"collection_name": "c"}, RestCode.BODY_FIELD_LOSS),
        ("POST", "/collections", {"collection_name": None, "dimension": 8}, RestCode.BODY_FIELD_LOSS),
        ("POST", "/collections", {"collection_name": 7, "dimension": 8}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections", {"collection_name": "c", "dimension": "8"}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections", {"collection_name": "c", "dimension": True}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections", {"collection_name": "c", "dimension": 8.5}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections", {"collection_name": "c", "dimension": 2**63}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections", {"collection_name": "c", "dimension": 8, "metric_type": "l2"}, 23),
        ("POST", "/collections", [], RestCode.ILLEGAL_BODY),
        ("POST", "/collections/c/indexes", {"params": {}}, RestCode.BODY_FIELD_LOSS),
        ("POST", "/collections/c/indexes", {"index_type": "FLAT"}, RestCode.BODY_FIELD_LOSS),
        ("POST", "/collections/c/indexes", {"index_type": "FLAT", "params": "{}"}, RestCode.ILLEGAL_BODY),
        ("POST", "/collections/c/indexes", {"index_type": "INVALID", "params": {}}, 8),
        ("POST", "/collections/c/partitions", {}, RestCode.BODY_FIELD_LOSS),
        ("DELETE", "/collections/c/partitions", {}, RestCode.BODY_FIELD_LOSS),
        ("POST", VECTORS, {"ids": ["1"]}, RestCode.BODY_FIELD_LOSS),
        ("POST", VECTORS, {"vectors": "x"}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [1.5]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[[1.5]]]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [["1.5"]]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[None]]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[True]]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[1.5], 2]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[1.5], [[2], 3]]}, RestCode.ILLEGAL_BODY),
        ("POST", VECTORS, {"vectors": [[1.5], {"0": 1}]}, RestCode.ILLEGAL_BODY),
        *(
            ("POST", VECTORS, {"vectors": ROWS, "ids": ids}, RestCode.ILLEGAL_BODY)
            for ids in ("1", [1.0], [True], [None], ["x"], [""], ["1_0"], [" 1"], ["1,2"], ["9" * 19], [-(2**63) - 1])
        ),
        ("PUT", VECTORS, {}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"search": {}, "delete": {}}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"search": []}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"search": {"vectors": ROWS}}, RestCode.BODY_FIELD_LOSS),
        ("PUT", VECTORS, {"search": {"topk": 1}}, RestCode.BODY_FIELD_LOSS),
        ("PUT", VECTORS, {"search": {"topk": 1, "vectors": ROWS, "params": 3}}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"search": {"topk": 1, "vectors": ROWS, "partition_tags": "p"}}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"search": {"topk": 1, "vectors": ROWS, "partition_tags": [1]}}, RestCode.ILLEGAL_BODY),
        ("PUT", VECTORS, {"delete": {}}, RestCode.BODY_FIELD_LOSS),
        ("PUT", "/system/task", {}, RestCode.ILLEGAL_BODY),
        ("PUT", "/system/task", {"flush": {}, "load": {}}, RestCode.ILLEGAL_BODY),
        ("PUT", "/system/task", {"flush": {}}, RestCode.BODY_FIELD_LOSS),
        ("PUT", "/system/task", {"load": {}}, RestCode.BODY_FIELD_LOSS),
        ("PUT", "/system/task", {"compact": {"collection_name": ["c"]}}, RestCode.ILLEGAL_BODY),
        ("PUT", "/config/advanced", {}, RestCode.ILLEGAL_BODY),
    ],
)
async def test_a_body_that_is_no_request_makes_no_call(
    api: Any, method: str, path: str, body: object, code: int
) -> None:
    response = await api.send(method, path, json=body)
    assert (response.status_code, response.json()["code"]) == (400, int(code)), response.text
    assert response.json()["message"]
    assert api.calls == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": 1}}', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_said_to_be_none(api: Any, body: bytes) -> None:
    response = await api.send("POST", VECTORS, content=body)
    assert (response.status_code, response.json()["code"]) == (400, 36)
    assert api.calls == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (VECTORS, RestCode.QUERY_PARAM_LOSS),
        (f"{VECTORS}?ids=", RestCode.QUERY_PARAM_LOSS),
        (f"{VECTORS}?ids=1,x", RestCode.ILLEGAL_QUERY_PARAM),
        (f"{VECTORS}?ids=1,", RestCode.ILLEGAL_QUERY_PARAM),
        ("/collections?offset=-1", RestCode.ILLEGAL_QUERY_PARAM),
        ("/collections?page_size=x", RestCode.ILLEGAL_QUERY_PARAM),
        ("/collections?page_size=", RestCode.ILLEGAL_QUERY_PARAM),
        (f"/collections?offset={10**30}", RestCode.ILLEGAL_QUERY_PARAM),
        ("/collections?all_required=maybe", RestCode.ILLEGAL_QUERY_PARAM),
        ("/collections//indexes", RestCode.PATH_PARAM_LOSS),
        ("/collections/c/segments//ids", RestCode.PATH_PARAM_LOSS),
    ],
)
async def test_a_path_or_query_that_is_no_request_makes_no_call(api: Any, path: str, code: int) -> None:
    response = await api.send("GET", path)
    assert (response.status_code, response.json()["code"]) == (400, int(code)), response.text
    assert api.calls == []
