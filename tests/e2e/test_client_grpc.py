"""The unmodified client against a node alone and against a router: it cannot tell them apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.client import Hits, RemoteClient
from harness.mariadb import MariaDB
from harness.servers import Server, cluster, node
from harness.vectors import bits, gaussian, inner_product, nearest, squared_l2, unit

L2, IP, HAMMING = 1, 2, 3
FLAT, IVF_FLAT = 1, 2
DIM = 32


@pytest.fixture(scope="module", params=["node", "router", "router-on-mariadb"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    flags = []
    if request.param == "router-on-mariadb":
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        flags = ["--metadata", mariadb.create_database().uri]
    server: Server = node(folder) if request.param == "node" else cluster(folder, flags)
    with server:
        yield server.launch()


@pytest.fixture
def client(address: str, connect: Callable[..., RemoteClient]) -> RemoteClient:
    return connect(address)


_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    return f"collection_{next(_numbers)}"


def create(client: RemoteClient, name: str, *, metric: int = L2, dimension: int = DIM, file_size: int = 64) -> None:
    param = {"collection_name": name, "dimension": dimension, "index_file_size": file_size, "metric_type": metric}
    assert client.call("create_collection", param=param).code == 0


def count(client: RemoteClient, name: str) -> int:
    reply = client.call("count_entities", collection_name=name)
    assert reply.ok, reply
    return int(reply.value)


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


def test_versions_and_status_are_those_of_a_milvus_1_1_server(client: RemoteClient) -> None:
    assert client.call("server_version").value == "1.1.0"
    assert client.call("server_status").value == "OK"


@pytest.mark.parametrize("metric", [L2, IP])
def test_a_flat_search_is_exact(client: RemoteClient, name: str, metric: int) -> None:
    base, queries = unit(3000, DIM), unit(20, DIM, seed=9)
    create(client, name, metric=metric)
    ids = insert(client, name, base, [i * 7 for i in range(len(base))])
    assert ids == [i * 7 for i in range(len(base))]
    assert count(client, name) == 3000
    found = search(client, name, queries, 10)
    exact = inner_product(queries, base) if metric == IP else squared_l2(queries, base)
    places, distances = nearest(exact, 10, largest_first=metric == IP)
    assert found.ids == (places * 7).tolist()
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4, atol=1e-5)


def test_generated_ids_rise_and_find_their_rows(client: RemoteClient, name: str) -> None:
    base = gaussian(2500, DIM)
    create(client, name)
    ids = insert(client, name, base)
    assert ids == sorted(set(ids))
    assert len(ids) == 2500
    found = search(client, name, base[:5], 1)
    assert [row[0] for row in found.ids] == ids[:5]
    assert found.distances == [[0.0]] * 5
    stored = client.call("get_entity_by_id", collection_name=name, ids=[ids[3], 1, ids[0]])
    np.testing.assert_array_equal(np.asarray(stored.value[0], np.float32), base[3])
    assert stored.value[1] == []
    np.testing.assert_array_equal(np.asarray(stored.value[2], np.float32), base[0])


def test_an_index_is_built_described_used_and_dropped(client: RemoteClient, name: str) -> None:
    base = unit(6000, DIM)
    create(client, name)
    insert(client, name, base, list(range(6000)))
    assert client.call("create_index", collection_name=name, index_type=IVF_FLAT, params={"nlist": 64}).ok
    info = client.call("get_index_info", collection_name=name).value
    assert info["params"] == {"nlist": 64}
    stats = client.call("get_collection_stats", collection_name=name).value
    segments = stats["partitions"][0]["segments"]
    assert [(s["index_name"], s["row_count"]) for s in segments] == [("IVFFLAT", 6000)]
    all_lists = search(client, name, base[:10], 5, params={"nprobe": 64})
    places, _ = nearest(squared_l2(base[:10], base), 5)
    assert all_lists.ids == places.tolist()
    assert [row[0] for row in all_lists.distances] == [0.0] * 10
    few_lists = search(client, name, base[:10], 5, params={"nprobe": 4})
    assert [row[0] for row in few_lists.ids] == list(range(10))
    assert client.call("drop_index", collection_name=name).ok
    assert client.call("get_collection_stats", collection_name=name).value["row_count"] == 6000
    assert search(client, name, base[:10], 5).ids == places.tolist()


def test_partitions_hold_their_own_rows(client: RemoteClient, name: str) -> None:
    base = gaussian(90, DIM)
    create(client, name)
    for tag in ("red", "reddish", "blue"):
        assert client.call("create_partition", collection_name=name, partition_tag=tag).ok
    assert client.call("create_partition", collection_name=name, partition_tag="red").code == 1
    listed = client.call("list_partitions", collection_name=name).value
    assert [partition["tag"] for partition in listed] == ["_default", "red", "reddish", "blue"]
    insert(client, name, base[:30], list(range(30)))
    insert(client, name, base[30:60], list(range(30, 60)), partition_tag="red")
    insert(client, name, base[60:], list(range(60, 90)), partition_tag="blue")
    assert client.call("has_partition", collection_name=name, partition_tag="red").value is True
    assert search(client, name, base[40:41], 1, partition_tags=["red"]).ids == [[40]]
    assert search(client, name, base[40:41], 1, partition_tags=["r.d"]).ids == [[40]]
    assert search(client, name, base[40:41], 1, partition_tags=["_default"]).ids[0][0] < 30
    assert search(client, name, base[5:6], 1, partition_tags=[".*"]).ids[0][0] >= 30, "the default partition has no tag"
    assert search(client, name, base[70:71], 1).ids == [[70]]
    assert search(client, name, base[70:71], 1, partition_tags=["reddish"]).ids == []
    unknown = client.call("search", collection_name=name, top_k=1, query_records=base[:1], partition_tags=["green"])
    assert (unknown.code, unknown.message) == (1, "The specified partition does not exist")
    assert client.call("drop_partition", collection_name=name, partition_tag="red").ok
    assert count(client, name) == 60
    assert search(client, name, base[40:41], 1).ids[0][0] not in range(30, 60)


def test_deleted_rows_vanish_at_the_flush(client: RemoteClient, name: str) -> None:
    base = gaussian(500, DIM)
    create(client, name)
    insert(client, name, base, list(range(500)))
    assert search(client, name, base[7:8], 1).ids == [[7]]
    assert client.call("delete_entity_by_id", collection_name=name, id_array=[7, 8, 99999]).ok
    assert client.call("flush", collection_name_array=[name]).ok
    assert count(client, name) == 498
    assert 7 not in search(client, name, base[7:8], 10).ids[0]
    assert client.call("get_entity_by_id", collection_name=name, ids=[7]).value == [[]]
    insert(client, name, base[7:8], [7])
    assert search(client, name, base[7:8], 1).ids == [[7]]
    assert client.call("delete_entity_by_id", collection_name=name, id_array=list(range(100))).ok
    assert client.call("flush", collection_name_array=[name]).ok
    assert client.call("compact", collection_name=name).ok
    assert count(client, name) == 400


def test_info_and_stats_say_what_was_made(client: RemoteClient, name: str) -> None:
    create(client, name, metric=IP, dimension=8, file_size=10)
    info = client.call("get_collection_info", collection_name=name).value
    assert (info["collection_name"], info["dimension"], info["index_file_size"]) == (name, 8, 10)
    assert client.call("get_collection_stats", collection_name=name).value == {
        "partitions": [{"row_count": 0, "segments": None, "tag": "_default"}],
        "row_count": 0,
    }
    insert(client, name, gaussian(5, 8), [1, 2, 3, 4, 5])
    stats = client.call("get_collection_stats", collection_name=name).value
    (segment,) = stats["partitions"][0]["segments"]
    assert (segment["data_size"], segment["index_name"], segment["row_count"]) == (200, "IDMAP", 5)
    assert client.call("list_id_in_segment", collection_name=name, segment_name=segment["name"]).value == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert name in client.call("list_collections").value
    assert client.call("has_collection", collection_name=name).value is True
    assert client.call("drop_collection", collection_name=name).ok
    assert client.call("has_collection", collection_name=name).value is False
    assert name not in client.call("list_collections").value


def test_a_collection_made_again_starts_empty_with_its_own_metric(client: RemoteClient, name: str) -> None:
    base = unit(50, DIM)
    create(client, name)
    insert(client, name, base, list(range(50)))
    assert client.call("drop_collection", collection_name=name).ok
    create(client, name, metric=IP, dimension=16)
    assert count(client, name) == 0
    other = unit(20, 16)
    insert(client, name, other)
    assert count(client, name) == 20
    assert math.isclose(search(client, name, other[:1], 1).distances[0][0], 1.0, rel_tol=1e-5)


def test_an_empty_collection_answers_no_rows_and_a_small_one_what_it_has(client: RemoteClient, name: str) -> None:
    create(client, name)
    assert search(client, name, gaussian(3, DIM), 5).ids == []
    insert(client, name, gaussian(3, DIM), [1, 2, 3])
    found = search(client, name, gaussian(2, DIM, seed=4), 100)
    assert [len(row) for row in found.ids] == [3, 3]
    assert client.call("delete_entity_by_id", collection_name=name, id_array=[1, 2, 3]).ok
    assert client.call("flush", collection_name_array=[name]).ok
    assert search(client, name, gaussian(2, DIM), 5).ids == [[], []]


def test_binary_vectors_are_searched_by_hamming_distance(client: RemoteClient, name: str) -> None:
    base = bits(300, 64)
    create(client, name, metric=HAMMING, dimension=64)
    insert(client, name, base, list(range(300)))
    found = search(client, name, base[5:6], 3)
    assert found.ids[0][0] == 5
    assert found.distances[0][0] == 0.0


def test_the_id_mode_is_fixed_by_the_first_insert(client: RemoteClient, name: str) -> None:
    create(client, name)
    insert(client, name, gaussian(2, DIM), [1, 2])
    mixed = client.call("insert", collection_name=name, records=gaussian(2, DIM))
    assert (mixed.code, mixed.message) == (
        12,
        "Entities IDs are user-defined. Please provide IDs for all entities of the collection.",
    )


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
        ("count_entities", {}),
        ("get_collection_info", {}),
        ("drop_collection", {}),
        ("get_index_info", {}),
        ("list_partitions", {}),
        ("delete_entity_by_id", {"id_array": [1]}),
        ("compact", {}),
    ):
        reply = client.call(method, collection_name="nowhere", **arguments)
        assert (method, reply.code, reply.message) == (method, 4, text)


def test_configuration_is_read_and_changed(client: RemoteClient) -> None:
    assert client.call("get_config", parent_key="cache", child_key="cache_size").value == "4GB"
    assert client.call("set_config", parent_key="cache", child_key="cache_size", value="3GB").ok
    assert client.call("get_config", parent_key="cache", child_key="cache_size").value == "3GB"
    assert client.call("set_config", parent_key="cache", child_key="cache_size", value="4GB").ok
    wrong = client.call("set_config", parent_key="cache", child_key="cache_size", value="many")
    assert wrong.code == 5
    unknown = client.call("get_config", parent_key="cache", child_key="nothing")
    assert (unknown.code, unknown.message) == (1, "Config node invalid: cache.nothing")
