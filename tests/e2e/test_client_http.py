"""The unmodified client with ``handler="HTTP"`` against a node alone and against a router: all it offers there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.client import ClientRaised, Hits, RemoteClient
from harness.servers import Server, cluster, node
from harness.vectors import bits, gaussian, inner_product, nearest, squared_l2, unit

L2, IP, HAMMING, JACCARD = 1, 2, 3, 4
FLAT, IVF_FLAT, HNSW = 1, 2, 11
DIM = 32


@pytest.fixture(scope="module", params=["node", "router"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server listens for HTTP."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    server: Server = node(folder) if request.param == "node" else cluster(folder)
    flag = "--http-address" if request.param == "node" else "--http-port"
    with server:
        server.launch()
        yield f"127.0.0.1:{server.command[server.command.index(flag) + 1].rpartition(':')[2]}"


@pytest.fixture
def client(address: str, connect: Callable[..., RemoteClient]) -> RemoteClient:
    return connect(address, handler="HTTP")


_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    return f"collection_{next(_numbers)}"


def create(client: RemoteClient, name: str, *, metric: int = L2, dimension: int = DIM) -> None:
    param = {"collection_name": name, "dimension": dimension, "index_file_size": 64, "metric_type": metric}
    reply = client.call("create_collection", param=param)
    assert reply.ok, reply


def insert(
    client: RemoteClient, name: str, rows: np.ndarray, ids: list[int] | None = None, **more: object
) -> list[int]:
    reply = client.call("insert", collection_name=name, records=rows, ids=ids, **more)
    assert reply.ok, reply
    assert client.call("flush", collection_name_array=[name]).ok
    return list(reply.value)


def search(client: RemoteClient, name: str, queries: np.ndarray, k: int, **more: object) -> Hits:
    reply = client.call("search", collection_name=name, top_k=k, query_records=queries, **more)
    assert reply.ok, reply
    assert isinstance(reply.value, Hits)
    return reply.value


def count(client: RemoteClient, name: str) -> int:
    reply = client.call("count_entities", collection_name=name)
    assert reply.ok, reply
    return int(reply.value)


def test_version_status_and_mode_are_those_of_a_milvus_1_1_server(client: RemoteClient) -> None:
    assert client.call("server_version").value == "1.1.0"
    assert client.call("server_status").value == "OK"
    assert client.call("_cmd", cmd="mode").value == "CPU"


@pytest.mark.parametrize("metric", [L2, IP])
def test_a_flat_search_is_exact_to_the_six_decimals_of_http(client: RemoteClient, name: str, metric: int) -> None:
    base, queries = unit(3000, DIM), unit(20, DIM, seed=9)
    create(client, name, metric=metric)
    ids = insert(client, name, base, [i * 7 for i in range(len(base))])
    assert ids == [i * 7 for i in range(len(base))]
    assert count(client, name) == 3000
    found = search(client, name, queries, 10, params={})
    exact = inner_product(queries, base) if metric == IP else squared_l2(queries, base)
    places, distances = nearest(exact, 10, largest_first=metric == IP)
    assert found.ids == (places * 7).tolist()
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4, atol=1e-5)


def test_generated_ids_rise_and_find_their_rows(client: RemoteClient, name: str) -> None:
    base = gaussian(500, DIM)
    create(client, name)
    ids = insert(client, name, base)
    assert ids == sorted(set(ids))
    assert len(ids) == 500
    assert [row[0] for row in search(client, name, base[:5], 1).ids] == ids[:5]
    stored = client.call("get_entity_by_id", collection_name=name, ids=[ids[3], 1, ids[0]]).value
    np.testing.assert_array_equal(np.asarray(stored[0], np.float32), base[3])
    assert stored[1] == []
    np.testing.assert_array_equal(np.asarray(stored[2], np.float32), base[0])


@pytest.mark.parametrize(("metric", "itself"), [(HAMMING, 0.0), (JACCARD, 0.0)])
def test_binary_vectors_travel_as_bytes(client: RemoteClient, name: str, metric: int, itself: float) -> None:
    base = bits(300, 64)
    create(client, name, metric=metric, dimension=64)
    insert(client, name, base, list(range(300)))
    found = search(client, name, base[5:6], 3)
    assert (found.ids[0][0], found.distances[0][0]) == (5, itself)
    stored = client.call("get_entity_by_id", collection_name=name, ids=[5, 9]).value
    assert stored == [base[5].tobytes(), base[9].tobytes()]


def test_an_index_is_built_described_used_and_dropped(client: RemoteClient, name: str) -> None:
    base = unit(5000, DIM)
    create(client, name)
    insert(client, name, base, list(range(5000)))
    built = client.call("create_index", collection_name=name, index_type=IVF_FLAT, params={"nlist": 64})
    assert built.ok, built
    info = client.call("get_index_info", collection_name=name).value
    assert info["params"] == {"nlist": 64}
    stats = client.call("get_collection_stats", collection_name=name).value
    assert [s["index_name"] for s in stats["partitions"][0]["segments"]] == ["IVFFLAT"]
    places, _ = nearest(squared_l2(base[:10], base), 5)
    assert search(client, name, base[:10], 5, params={"nprobe": 64}).ids == places.tolist()
    refused = client.call("search", collection_name=name, top_k=5, query_records=base[:1], params={"nprobe": 0})
    assert (refused.code, refused.message) == (5, "Invalid nprobe value: 0. Valid range is [1, 65536]")
    assert client.call("drop_index", collection_name=name).ok
    assert search(client, name, base[:10], 5).ids == places.tolist()
    wrong = client.call("create_index", collection_name=name, index_type=HNSW, params={"M": 16})
    assert (wrong.code, wrong.message) == (5, "Parameter list must contain: efConstruction")


def test_partitions_hold_their_own_rows(client: RemoteClient, name: str) -> None:
    base = gaussian(90, DIM)
    create(client, name)
    for tag in ("red", "reddish"):
        assert client.call("create_partition", collection_name=name, partition_tag=tag).ok
    again = client.call("create_partition", collection_name=name, partition_tag="red")
    assert (again.code, again.message) == (1, "Duplicate partition is not allowed")
    listed = client.call("list_partitions", collection_name=name).value
    assert [partition["tag"] for partition in listed] == ["_default", "red", "reddish"]
    assert client.call("has_partition", collection_name=name, partition_tag="red").value is True
    assert client.call("has_partition", collection_name=name, partition_tag="green").value is False
    insert(client, name, base[:30], list(range(30)))
    insert(client, name, base[30:60], list(range(30, 60)), partition_tag="red")
    assert search(client, name, base[40:41], 1, partition_tags=["r.d"]).ids == [[40]]
    assert search(client, name, base[40:41], 1, partition_tags=["_default"]).ids[0][0] < 30
    stored = client.call("get_entity_by_id", collection_name=name, ids=[40, 3], partition_tag="red").value
    np.testing.assert_array_equal(np.asarray(stored[0], np.float32), base[40])
    assert stored[1] == []
    for method in ("load_collection", "release_collection"):
        assert client.call(method, collection_name=name, partition_tags=["red"]).ok
        assert client.call(method, collection_name=name).ok
    assert client.call("drop_partition", collection_name=name, partition_tag="red").ok
    assert count(client, name) == 30


def test_deleted_rows_vanish_at_the_flush(client: RemoteClient, name: str) -> None:
    base = gaussian(500, DIM)
    create(client, name)
    insert(client, name, base, list(range(500)))
    assert client.call("delete_entity_by_id", collection_name=name, id_array=[*range(100), 99999]).ok
    assert client.call("flush", collection_name_array=[name]).ok
    assert count(client, name) == 400
    assert 7 not in search(client, name, base[7:8], 10).ids[0]
    assert client.call("compact", collection_name=name).ok
    assert count(client, name) == 400


def test_a_search_in_files_sees_their_rows_only(client: RemoteClient, name: str) -> None:
    base = gaussian(50, DIM)
    create(client, name)
    insert(client, name, base, list(range(50)))
    every = client.call(
        "search_in_segment", collection_name=name, file_ids=list(range(1, 1000)), query_records=base, top_k=1
    )
    assert every.value.ids == [[i] for i in range(50)]
    none = client.call("search_in_segment", collection_name=name, file_ids=[999_999], query_records=base[:1], top_k=1)
    assert (none.code, none.message) == (1, "Invalid file id")


def test_info_and_stats_say_what_was_made(client: RemoteClient, name: str) -> None:
    create(client, name, metric=IP, dimension=8)
    info = client.call("get_collection_info", collection_name=name).value
    assert (info["collection_name"], info["dimension"], info["index_file_size"]) == (name, 8, 64)
    assert client.call("get_collection_stats", collection_name=name).value == {
        "partitions": [{"row_count": 0, "segments": None, "tag": "_default"}],
        "row_count": 0,
    }
    insert(client, name, gaussian(5, 8), [1, 2, 3, 4, 5])
    (segment,) = client.call("get_collection_stats", collection_name=name).value["partitions"][0]["segments"]
    listed = client.call("list_id_in_segment", collection_name=name, segment_name=segment["name"])
    assert listed.value == [1, 2, 3, 4, 5]
    assert name in client.call("list_collections").value
    assert client.call("has_collection", collection_name=name).value is True
    assert client.call("drop_collection", collection_name=name).ok
    assert client.call("has_collection", collection_name=name).value is False
    assert name not in client.call("list_collections").value


def test_an_empty_collection_answers_no_rows_and_an_emptied_one_empty_rows(client: RemoteClient, name: str) -> None:
    create(client, name)
    assert search(client, name, gaussian(3, DIM), 5).ids == []
    insert(client, name, gaussian(3, DIM), [1, 2, 3])
    assert [len(row) for row in search(client, name, gaussian(2, DIM, seed=4), 100).ids] == [3, 3]
    assert client.call("delete_entity_by_id", collection_name=name, id_array=[1, 2, 3]).ok
    assert client.call("flush", collection_name_array=[name]).ok
    assert search(client, name, gaussian(2, DIM), 5).ids == [[], []]


def test_settings_are_read_and_changed(client: RemoteClient) -> None:
    assert client.call("get_config", parent_key="cache", child_key="cache_insert_data").value == "false"
    changed = client.call("set_config", parent_key="cache", child_key="cache_insert_data", value="true")
    assert (changed.code, changed.value) == (0, "OK")
    assert client.call("get_config", parent_key="cache", child_key="cache_insert_data").value == "true"
    unknown = client.call("set_config", parent_key="cache", child_key="nonsense", value="1")
    assert (unknown.code, unknown.message) == (1, "Config node invalid: cache.nonsense")
    assert client.call("get_config", parent_key="cache", child_key="nonsense").code == 1


@pytest.mark.parametrize(
    ("k", "dimension", "code", "text"),
    [
        (0, DIM, 10, "Invalid topk: 0. The topk must be within the range of 1 ~ 16384."),
        (16385, DIM, 10, "Invalid topk: 16385. The topk must be within the range of 1 ~ 16384."),
        (5, DIM + 1, 7, "The vector dimension must be equal to the collection dimension."),
    ],
)
def test_a_search_that_cannot_be_is_answered_with_the_protocols_code_and_text(
    client: RemoteClient, name: str, k: int, dimension: int, code: int, text: str
) -> None:
    create(client, name)
    insert(client, name, gaussian(10, DIM), list(range(10)))
    reply = client.call("search", collection_name=name, top_k=k, query_records=gaussian(1, dimension))
    assert (reply.code, reply.message) == (code, text)


def test_an_unknown_collection_is_said_to_be_unknown(client: RemoteClient) -> None:
    text = (
        "Collection nowhere does not exist. Use milvus.has_collection to verify whether the collection exists. "
        "You also can check whether the collection name exists."
    )
    for method, arguments in (
        ("search", {"top_k": 1, "query_records": gaussian(1, DIM)}),
        ("insert", {"records": gaussian(1, DIM)}),
        ("insert", {"records": bits(1, 64)}),
        ("count_entities", {}),
        ("get_collection_info", {}),
        ("drop_collection", {}),
        ("create_index", {"index_type": FLAT, "params": {}}),
        ("get_index_info", {}),
        ("list_partitions", {}),
        ("delete_entity_by_id", {"id_array": [1]}),
        ("flush", {"collection_name_array": ["nowhere"]}),
        ("compact", {}),
    ):
        named = {} if method == "flush" else {"collection_name": "nowhere"}
        reply = client.call(method, **named, **arguments)
        assert (method, reply.code, reply.message) == (method, 4, text)
    assert client.call("get_collection_stats", collection_name="nowhere").code == 4  # with a text of the client's own


def test_what_the_client_does_not_do_over_http_it_says_itself(client: RemoteClient) -> None:
    with pytest.raises(ClientRaised, match="NotImplementedError"):
        client.call("reload_segments", collection_name="c", segment_ids=["1"])
