"""What a read-only node of the double does that it should not, and what it does not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import Cluster
from harness.milvus1.kinds import Engine, FileType
from harness.milvus1.node import Milvus1Double
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.wire.protos.milvus_pb2 import PreloadCollectionParam

ROWS = gaussian(60, 8)


def thirty_rows(cluster: Cluster) -> NodeClient:
    """Start the writable node with collection ``c`` of ids 0 to 29 in file 1."""
    _, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS[:30], range(30))
    client.flush("c")
    return client


def nearest_to_0(client: NodeClient, *files: int) -> list[int]:
    return client.search_files("c", files or [1], ROWS[:1], 2).ids[0]


def test_a_read_only_node_sees_new_collections_and_segments_at_once(cluster: Cluster) -> None:
    _, reader = cluster.start("ro")
    thirty_rows(cluster)
    assert reader.count("c") == 30
    assert nearest_to_0(reader)[0] == 0


def test_a_read_only_node_takes_an_insert_and_loses_it(cluster: Cluster) -> None:
    thirty_rows(cluster)
    _, reader = cluster.start("ro")
    reply = reader.insert("c", ROWS[30:], range(30, 60))
    assert (reply.status.reason, len(reply.vector_id_array)) == ("OK", 30)
    assert reader.flush("c").reason == "OK"
    assert reader.count("c") == 30
    assert cluster.files() == {1: FileType.RAW}


def test_a_read_only_node_takes_a_delete_and_does_nothing(cluster: Cluster) -> None:
    thirty_rows(cluster)
    _, reader = cluster.start("ro")
    assert reader.delete("c", [0]).reason == "OK"
    assert reader.flush("c").reason == "OK"
    assert nearest_to_0(reader)[0] == 0
    assert reader.count("c") == 30


def test_definitions_made_and_dropped_on_a_read_only_node_are_everybody_s(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    _, reader = cluster.start("ro")
    assert reader.create("made", 8).reason == "OK"
    assert client.count("made") == 0
    assert reader.on("DropCollection", "c").reason == "OK"
    assert client.search("c", ROWS[:1], 1).code == 4


def test_an_index_ordered_on_a_read_only_node_is_built_by_the_writable_one(cluster: Cluster) -> None:
    thirty_rows(cluster)
    _, reader = cluster.start("ro")
    assert reader.create_index("c", Engine.IVF_FLAT).reason == "OK"
    assert cluster.files() == {1: FileType.BACKUP, 2: FileType.INDEX}


def test_a_cached_segment_goes_on_with_its_deleted_rows_until_it_is_reloaded(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    _, reader = cluster.start("ro")
    _, fresh = cluster.start("ro")
    assert nearest_to_0(reader)[0] == 0
    client.delete("c", [0])
    client.flush("c")
    assert nearest_to_0(client)[0] != 0
    assert nearest_to_0(fresh)[0] != 0
    assert nearest_to_0(reader)[0] == 0
    assert reader.reload("c", [1]).reason == "OK"
    assert nearest_to_0(reader)[0] != 0


def test_the_width_follows_the_table_even_where_the_deletes_are_not_seen(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    _, reader = cluster.start("ro")
    nearest_to_0(reader)
    client.delete("c", [0])
    client.flush("c")
    found = reader.search_files("c", [1], ROWS[:1], 100)
    assert len(found.ids[0]) == 29 + 1
    assert found.ids[0][0] == 0


def test_raw_and_index_file_of_a_segment_are_reloaded_each_by_its_own_row(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    client.create_index("c", Engine.IVF_FLAT)
    _, reader = cluster.start("ro")
    search = {"queries": ROWS[:1], "topk": 1, "params": '{"nprobe":4}'}
    assert [reader.search_files("c", [number], **search).ids for number in (1, 2)] == [[[0]], [[0]]]
    client.delete("c", [0])
    client.flush("c")
    reader.reload("c", [2])
    assert reader.search_files("c", [1], **search).ids == [[0]]
    assert reader.search_files("c", [2], **search).ids != [[0]]


def test_reload_takes_unknown_ids_and_loads_nothing_that_is_not_cached(cluster: Cluster) -> None:
    thirty_rows(cluster)
    node, reader = cluster.start("ro")
    assert reader.reload("c", [1, 999]).reason == "OK"
    assert node.cached_files() == []
    assert reader.reload("c", ["x"]).reason == "stoul"


def test_reload_on_the_writable_node_checks_nothing(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    assert client.reload("no such collection", ["x"]).reason == "OK"


def test_a_node_may_also_notice_deletes_by_itself_as_1_1_does(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    _, reader = cluster.start("ro", version="1.1.0", reads_deletes_by_updated_time=True)
    assert nearest_to_0(reader)[0] == 0
    client.delete("c", [0])
    client.flush("c")
    assert nearest_to_0(reader)[0] != 0


def test_preload_fills_the_cache_and_release_empties_it(cluster: Cluster) -> None:
    thirty_rows(cluster)
    node, reader = cluster.start("ro")
    request = PreloadCollectionParam(collection_name="c")
    assert reader.call("PreloadCollection", request).reason == "OK"
    assert len(node.cached_files()) == 1
    assert reader.call("ReleaseCollection", request).reason == "OK"
    assert node.cached_files() == []


def test_every_search_reads_the_database_even_when_all_is_cached(cluster: Cluster, tmp_path: Path) -> None:
    thirty_rows(cluster)
    _, reader = cluster.start("ro")
    nearest_to_0(reader)
    for name in ("TableFiles", "Tables"):
        cluster.rows(f"ALTER TABLE {name} RENAME TO away_{name}")
    found = reader.search_files("c", [1], ROWS[:1], 1)
    assert (found.code, found.row_num) == (15, 0)
    for name in ("TableFiles", "Tables"):
        cluster.rows(f"ALTER TABLE away_{name} RENAME TO {name}")
    assert nearest_to_0(reader)[0] == 0


def test_a_second_writable_node_on_the_folder_does_not_start(cluster: Cluster) -> None:
    node, _ = cluster.start("rw")
    second = Milvus1Double("rw", cluster.uri, cluster.storage)
    with pytest.raises(RuntimeError, match="rw instance lock db path failed"):
        second.start()
    node.kill()
    cluster.start("rw")


def test_a_killed_writable_node_has_lost_what_was_not_flushed_and_a_stopped_one_has_not(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS[:30], range(30))
    node.stop()
    node, client = cluster.start("rw")
    assert client.count("c") == 30
    client.insert("c", ROWS[30:], range(30, 60))
    node.kill()
    _, client = cluster.start("rw")
    assert client.count("c") == 30


def test_any_node_may_merge_at_its_start_as_the_real_one_does(cluster: Cluster) -> None:
    client = thirty_rows(cluster)
    client.insert("c", ROWS[30:], range(30, 60))
    client.flush("c")
    cluster.start("ro", merges=("start",))
    assert cluster.files() == {1: FileType.TO_DELETE, 2: FileType.TO_DELETE, 3: FileType.RAW}


def test_merges_after_a_flush_can_be_turned_on(cluster: Cluster) -> None:
    _, client = cluster.start("rw", merges=("flush",))
    client.create("c", 8)
    for half in (range(30), range(30, 60)):
        client.insert("c", ROWS[half], half)
        client.flush("c")
    eventually(lambda: 3 in cluster.files(), 10, "a merge")
    eventually(lambda: cluster.files()[3] == FileType.RAW, 10, "the end of the merge")
    assert np.unique(client.search("c", ROWS[:1], 60).ids[0]).tolist() == list(range(60))
