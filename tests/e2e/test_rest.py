"""The HTTP API as people with curl use it, against a node alone and against a router: each route, on real data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harness.servers import Server, cluster, node
from harness.vectors import gaussian

DIM = 8
DONE = {"message": "OK", "code": 0}


@pytest.fixture(scope="module", params=["node", "router"])
def curl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    server: Server = node(folder) if request.param == "node" else cluster(folder)
    flag = "--http-address" if request.param == "node" else "--http-port"
    with server:
        server.launch()
        port = server.command[server.command.index(flag) + 1].rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client


_numbers = itertools.count()


@pytest.fixture
def path(curl: httpx.Client) -> str:
    """The path of an empty collection of its own."""
    name = f"collection_{next(_numbers)}"
    made = curl.post("/collections", json={"collection_name": name, "dimension": DIM, "index_file_size": 64})
    assert (made.status_code, made.json()) == (201, DONE)
    return f"/collections/{name}"


def filled(curl: httpx.Client, path: str, count: int, partition_tag: str | None = None) -> np.ndarray:
    """Insert rows with the ids 0, 1, 2, … and flush."""
    rows = gaussian(count, DIM)
    body: dict[str, Any] = {"vectors": rows.tolist(), "ids": [str(number) for number in range(count)]}
    if partition_tag is not None:
        body["partition_tag"] = partition_tag
    made = curl.post(f"{path}/vectors", json=body)
    assert (made.status_code, made.json()) == (201, {"ids": body["ids"]})
    flush(curl, path)
    return rows


def flush(curl: httpx.Client, path: str) -> None:
    done = curl.put("/system/task", json={"flush": {"collection_names": [path.rpartition("/")[2]]}})
    assert (done.status_code, done.json()) == (200, DONE)


def test_the_server_introduces_itself(curl: httpx.Client) -> None:
    welcome = curl.get("/")
    assert (welcome.status_code, welcome.headers["access-control-allow-origin"]) == (200, "*")
    assert "Milvus 1.1" in welcome.text
    assert curl.get("/state").json() == {"message": "Success", "code": 0}
    assert curl.get("/healthz").json() == {"status": "ok"}
    assert curl.get("/readyz").json() == {"ready": True, "reasons": [], "warnings": []}


def test_the_machine_is_described(curl: httpx.Client) -> None:
    devices = curl.get("/devices").json()
    assert devices["cpu"]["memory"] > 0
    assert devices["gpus"] == {}


def test_a_collection_is_listed_shown_and_dropped(curl: httpx.Client, path: str) -> None:
    shown = curl.get(path).json()
    assert shown == {
        "collection_name": path.rpartition("/")[2],
        "dimension": DIM,
        "index_file_size": 64,
        "metric_type": "L2",
        "count": 0,
        "index": "FLAT",
        "index_params": "{}",
    }
    everything = curl.get("/collections", params={"all_required": "true"}).json()
    assert shown in everything["collections"]
    assert everything["count"] == len(everything["collections"])
    assert curl.get("/collections", params={"offset": 0, "page_size": 1}).json() == {
        "collections": everything["collections"][:1],
        "count": everything["count"],
    }
    dropped = curl.delete(path)
    assert (dropped.status_code, dropped.content) == (204, b"")
    gone = curl.get(path)
    assert (gone.status_code, gone.json()["code"]) == (404, 4)


def test_a_collection_that_cannot_be_made_says_why(curl: httpx.Client, path: str) -> None:
    name = path.rpartition("/")[2]
    for body, code, text in (
        ({"collection_name": name, "dimension": DIM}, 9, "Collection already exists"),
        ({"collection_name": "1x", "dimension": DIM}, 9, "Invalid collection name: 1x. "),
        ({"collection_name": "x", "dimension": 0}, 7, "Invalid collection dimension: 0. "),
        ({"collection_name": "x", "dimension": DIM, "index_file_size": 0}, 5, "Invalid index file size: 0. "),
        ({"collection_name": "x", "dimension": DIM, "metric_type": "L3"}, 23, "Invalid metric type: L3. "),
        ({"dimension": DIM}, 34, "Field 'collection_name' is required."),
    ):
        refused = curl.post("/collections", json=body)
        assert (refused.status_code, refused.json()["code"]) == (400, code)
        assert refused.json()["message"].startswith(text)


def test_an_index_is_made_shown_and_dropped(curl: httpx.Client, path: str) -> None:
    filled(curl, path, 20)
    made = curl.post(f"{path}/indexes", json={"index_type": "IVFFLAT", "params": {"nlist": 16}})
    assert (made.status_code, made.json()) == (201, DONE)
    assert curl.get(f"{path}/indexes").json() == {"index_type": "IVFFLAT", "params": {"nlist": 16}}
    assert (curl.get(path).json()["index"], curl.get(path).json()["index_params"]) == ("IVFFLAT", '{"nlist":16}')
    assert curl.delete(f"{path}/indexes").status_code == 204
    assert curl.get(f"{path}/indexes").json() == {"index_type": "FLAT", "params": {}}
    missing = curl.post(f"{path}/indexes", json={"index_type": "IVFFLAT"})
    assert (missing.status_code, missing.json()["code"]) == (400, 34)


def test_a_partition_is_made_listed_and_dropped(curl: httpx.Client, path: str) -> None:
    made = curl.post(f"{path}/partitions", json={"partition_tag": "p 1"})
    assert (made.status_code, made.json()) == (201, DONE)
    tags = [{"partition_tag": "_default"}, {"partition_tag": "p 1"}]
    assert curl.get(f"{path}/partitions").json() == {"partitions": tags, "count": 2}
    assert curl.get(f"{path}/partitions", params={"offset": 1}).json() == {"partitions": tags[1:], "count": 2}
    dropped = curl.request("DELETE", f"{path}/partitions", json={"partition_tag": "p 1"})
    assert (dropped.status_code, dropped.content) == (204, b"")
    assert curl.get(f"{path}/partitions").json()["count"] == 1
    again = curl.request("DELETE", f"{path}/partitions", json={"partition_tag": "p 1"})
    assert (again.status_code, again.json()["code"]) == (400, 1)


def test_segments_show_their_ids_and_vectors(curl: httpx.Client, path: str) -> None:
    curl.post(f"{path}/partitions", json={"partition_tag": "p"})
    rows = filled(curl, path, 5, "p")
    listed = curl.get(f"{path}/segments").json()
    (segment,) = listed["segments"]
    assert (listed["code"], listed["message"], listed["count"]) == (0, "OK", 1)
    assert (segment["partition_tag"], segment["row_count"], segment["index_name"]) == ("p", 5, "IDMAP")
    assert curl.get(f"{path}/segments", params={"partition_tag": "_default"}).json()["segments"] == []
    stats = curl.get(path, params={"info": "stat"}).json()
    assert stats["partitions"][1]["segments"] == [{k: v for k, v in segment.items() if k != "partition_tag"}]
    inside = f"{path}/segments/{segment['name']}"
    assert curl.get(f"{inside}/ids").json() == {"ids": ["0", "1", "2", "3", "4"], "count": 5}
    found = curl.get(f"{inside}/vectors", params={"offset": 1, "page_size": 2}).json()
    assert ([vector["id"] for vector in found["vectors"]], found["count"]) == (["1", "2"], 5)
    np.testing.assert_array_equal(np.array([v["vector"] for v in found["vectors"]], np.float32), rows[1:3])
    unknown = curl.get(f"{path}/segments/1/ids")
    assert (unknown.status_code, unknown.json()["message"]) == (400, "Segment does not exist")


def test_rows_are_found_by_id(curl: httpx.Client, path: str) -> None:
    rows = filled(curl, path, 5)
    found = curl.get(f"{path}/vectors", params={"ids": "4,77,0"}).json()
    assert (found["code"], found["message"]) == (0, "OK")
    assert [vector["id"] for vector in found["vectors"]] == ["4", "77", "0"]
    assert found["vectors"][1]["vector"] == []
    stored = np.array([found["vectors"][at]["vector"] for at in (0, 2)], np.float32)
    np.testing.assert_array_equal(stored, rows[[4, 0]])
    elsewhere = curl.get(f"{path}/vectors", params={"ids": "4", "partition_tag": "q"})
    assert (elsewhere.status_code, elsewhere.json()["message"]) == (400, "The specified partition does not exist")
    nothing = curl.get(f"{path}/vectors")
    assert (nothing.status_code, nothing.json()["code"]) == (400, 33)


def test_rows_are_searched_by_vectors_by_ids_and_in_files(curl: httpx.Client, path: str) -> None:
    empty = curl.put(f"{path}/vectors", json={"search": {"topk": 2, "vectors": [[0.5] * DIM], "params": {}}})
    assert (empty.status_code, empty.json()) == (200, {"num": 0, "result": []})
    rows = filled(curl, path, 50)
    search = {"topk": 2, "vectors": rows[:3].tolist(), "params": {}}
    by_vectors = curl.put(f"{path}/vectors", json={"search": search}).json()
    assert by_vectors["num"] == 3
    assert [row[0] for row in by_vectors["result"]] == [{"id": str(n), "distance": "0.000000"} for n in range(3)]
    distance = float(((rows[0] - rows[int(by_vectors["result"][0][1]["id"])]) ** 2).sum())
    assert float(by_vectors["result"][0][1]["distance"]) == pytest.approx(distance, abs=1e-5)
    by_ids = curl.put(f"{path}/vectors", json={"search": {"topk": 2, "ids": ["0", "1", "2"], "params": {}}}).json()
    assert by_ids == by_vectors
    every_file = [str(number) for number in range(1, 500)]
    assert curl.put(f"{path}/vectors", json={"search": {**search, "file_ids": every_file}}).json() == by_vectors
    no_file = curl.put(f"{path}/vectors", json={"search": {**search, "file_ids": ["999999"]}})
    assert (no_file.status_code, no_file.json()) == (400, {"message": "Invalid file id", "code": 1})
    default = curl.put(f"{path}/vectors", json={"search": {**search, "partition_tags": ["_default"]}}).json()
    assert default == by_vectors


def test_rows_are_deleted_by_id(curl: httpx.Client, path: str) -> None:
    filled(curl, path, 10)
    deleted = curl.put(f"{path}/vectors", json={"delete": {"ids": ["3", "4"]}})
    assert (deleted.status_code, deleted.json()) == (200, {"code": 0, "message": "success"})
    flush(curl, path)
    assert curl.get(path).json()["count"] == 8


def test_commands_reach_the_server(curl: httpx.Client) -> None:
    assert curl.get("/system/version").json() == {**DONE, "reply": "1.1.0"}
    assert curl.get("/system/mode").json() == {**DONE, "reply": "CPU"}
    assert curl.get("/system/nonsense").json() == {**DONE, "reply": "Unknown command"}
    assert {"memory_total", "memory_used"} <= json.loads(curl.get("/system/info").json()["reply"]).keys()


def test_tasks_cover_a_collection(curl: httpx.Client, path: str) -> None:
    filled(curl, path, 10)
    name = path.rpartition("/")[2]
    for task in (
        {"load": {"collection_name": name}},
        {"load": {"collection_name": name, "partition_tags": ["_default"]}},
        {"release": {"collection_name": name}},
        {"compact": {"collection_name": name}},
        {"flush": {"collection_names": []}},
    ):
        done = curl.put("/system/task", json=task)
        assert (done.status_code, done.json()) == (200, DONE)
    unknown = curl.put("/system/task", json={"load": {"collection_name": "nowhere"}})
    assert (unknown.status_code, unknown.json()["code"]) == (404, 4)


def test_settings_are_shown_and_changed(curl: httpx.Client) -> None:
    config = curl.get("/system/config").json()
    assert config["engine_config"]["search_combine_nq"] == "64"
    assert config["restart_required"] is False
    changed = curl.put("/system/config", json={"engine_config": {"search_combine_nq": 32}})
    assert (changed.status_code, changed.json()) == (200, {**DONE, "restart_required": False})
    assert curl.get("/system/config").json()["engine_config"]["search_combine_nq"] == "32"
    later = curl.put("/system/config", json={"storage": {"auto_flush_interval": 2}})
    assert later.json() == {**DONE, "restart_required": True}
    wrong = curl.put("/system/config", json={"cache": {"cache_size": "much"}})
    assert (wrong.status_code, wrong.json()["code"]) == (400, 5)


def test_the_advanced_settings_have_names_and_numbers_of_their_own(curl: httpx.Client) -> None:
    shown = curl.get("/config/advanced").json()
    assert shown["cpu_cache_capacity"] > 0
    assert shown["use_blas_threshold"] == 1100
    changed = curl.put("/config/advanced", json={"cpu_cache_capacity": 1, "cache_insert_data": True})
    assert (changed.status_code, changed.json()) == (200, DONE)
    assert curl.get("/config/advanced").json() == {**shown, "cpu_cache_capacity": 1, "cache_insert_data": True}


def test_what_is_no_request_is_answered_in_json(curl: httpx.Client, path: str) -> None:
    for answer, status, code in (
        (curl.get("/nowhere"), 404, 32),
        (curl.get("/config/gpu_resources"), 404, 32),
        (curl.patch("/state"), 405, 32),
        (curl.get("/collections//indexes"), 400, 31),
        (curl.get(f"{path}/vectors?ids=x"), 400, 37),
        (curl.get("/collections?offset=x"), 400, 37),
        (curl.post(f"{path}/vectors", content=b"{"), 400, 36),
        (curl.post(f"{path}/vectors", json={"vectors": 1}), 400, 35),
        (curl.put(f"{path}/vectors", json={"search": {}}), 400, 34),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["message"]
        assert answer.headers["access-control-allow-origin"] == "*"


def test_a_browser_may_ask_from_anywhere(curl: httpx.Client, path: str) -> None:
    for asked in ("/", "/state", "/collections", path, f"{path}/vectors", "/system/config", "/system/task"):
        assert curl.options(asked).status_code == 204
        assert curl.options(asked).headers["access-control-allow-origin"] == "*"


def test_what_curl_sends_is_bounded_in_time_by_its_header(curl: httpx.Client, path: str) -> None:
    late = curl.get(path, headers={"Grpc-Timeout": "1n"})
    assert (late.status_code, late.json()["code"]) == (504, 1)
    assert curl.get(path, headers={"Grpc-Timeout": "20S"}).status_code == 200
