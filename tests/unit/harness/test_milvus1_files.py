"""How the double's files come, change and go: the steps that another process sees in the tables and on disk."""

from __future__ import annotations

import struct
from pathlib import Path

import grpc
import numpy as np
import pytest

from harness.milvus1.client import Found, NodeClient, search_param
from harness.milvus1.cluster import Cluster
from harness.milvus1.hooks import Point
from harness.milvus1.kinds import Engine, FileType
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.wire.protos.milvus_pb2 import CollectionName, FlushParam, TopKQueryResult

RAW, TO_INDEX, INDEX, BACKUP = FileType.RAW, FileType.TO_INDEX, FileType.INDEX, FileType.BACKUP
TO_DELETE, NEW_MERGE = FileType.TO_DELETE, FileType.NEW_MERGE
ROWS = gaussian(60, 8)
NPROBE = '{"nprobe":4}'
NAME = CollectionName(collection_name="c")
FLUSH = FlushParam(collection_name_array=["c"])


def segment(client: NodeClient, ids: range) -> None:
    client.insert("c", ROWS[ids.start : ids.stop], ids)
    client.flush("c")


def two_segments(client: NodeClient) -> None:
    """Make collection ``c`` of ids 0 to 59 in the files 1 and 2."""
    client.create("c", 8)
    segment(client, range(30))
    segment(client, range(30, 60))


def test_a_flushed_segment_has_the_rows_and_the_bytes_of_the_real_one(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8, index_file_size=10)
    segment(client, range(30))
    columns = "segment_id, file_id, engine_type, file_type, file_size, row_count, flush_lsn"
    ((name, file_id, engine, kind, size, count, lsn),) = cluster.rows(f"SELECT {columns} FROM TableFiles")  # noqa: S608 - our own columns
    assert (file_id, engine, kind, size, count, lsn) == (name, 1, RAW, 30 * (8 * 4 + 8), 30, 0)
    folder = cluster.storage / "db" / "tables" / "c" / name
    assert (folder / f"{name}.rv").read_bytes() == struct.pack("<Q", 960) + ROWS[:30].tobytes()
    assert (folder / f"{name}.uid").read_bytes() == struct.pack("<Q", 240) + np.arange(30).tobytes()
    assert (folder / "deleted_docs").read_bytes() == bytes(8)
    assert (folder / "bloom_filter").stat().st_mode & 0o777 == 0o600
    assert cluster.rows("SELECT table_id, flag, index_file_size, index_params, owner_table FROM Tables") == [
        ("c", 2, 10 * 2**20, "{}", "")
    ]


def test_rows_are_inserted_by_position_so_that_a_foreign_column_breaks_the_server(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    cluster.rows("ALTER TABLE Tables ADD COLUMN ours INT")
    assert client.create("c", 8).error_code == 15


def test_a_table_that_lacks_a_column_stops_the_start(cluster: Cluster) -> None:
    cluster.rows("CREATE TABLE Tables (id INTEGER PRIMARY KEY, table_id VARCHAR(255))")
    with pytest.raises(RuntimeError, match="old version"):
        cluster.start("rw")


def test_an_automatic_flush_makes_rows_visible(cluster: Cluster) -> None:
    _, client = cluster.start("rw", auto_flush_interval_s=0.05)
    client.create("c", 8)
    client.insert("c", ROWS[:30])
    eventually(lambda: client.count("c") == 30, 10, "the automatic flush")
    flushed_to = [(30 * (8 * 4 + 8),)]
    eventually(lambda: cluster.rows("SELECT global_lsn FROM Environment") == flushed_to, 10, "it is recorded")


def test_a_merge_has_a_gap_in_which_rows_are_missing(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    _, reader = cluster.start("ro")
    two_segments(client)
    with node.hooks.pause_at(Point.MERGE_GAP) as gap:
        building = client.begin_create_index("c", Engine.IVF_FLAT)
        gap.wait_reached()
        assert cluster.files() == {1: TO_DELETE, 2: TO_DELETE, 3: NEW_MERGE}
        assert reader.search("c", ROWS[:1], 5).row_num == 0
    assert building.result().reason == "OK"
    assert cluster.files() == {1: TO_DELETE, 2: TO_DELETE, 3: BACKUP, 4: INDEX}


def test_the_writable_node_s_own_searches_wait_until_the_gap_is_closed(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    two_segments(client)
    with node.hooks.pause_at(Point.MERGE_GAP) as gap:
        building = client.begin_create_index("c", Engine.IVF_FLAT)
        gap.wait_reached()
        search = client.begin("Search", search_param("c", ROWS[:1], 1, NPROBE), TopKQueryResult)
        with pytest.raises(grpc.FutureTimeoutError):
            search.result(timeout=0.3)
    assert search.result().ids == [0]
    building.result()


def test_an_index_switch_shows_both_files_of_one_segment(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    _, reader = cluster.start("ro")
    client.create("c", 8)
    segment(client, range(30))
    with node.hooks.pause_at(Point.INDEX_BOTH) as both:
        building = client.begin_create_index("c", Engine.IVF_FLAT)
        both.wait_reached()
        assert cluster.files() == {1: TO_INDEX, 2: INDEX}
        assert reader.search("c", ROWS[:1], 2, NPROBE).ids == [[0, 0]]
    building.result()
    assert cluster.files() == {1: BACKUP, 2: INDEX}
    assert len({name for (name,) in cluster.rows("SELECT segment_id FROM TableFiles")}) == 1


def test_an_index_file_lies_beside_the_raw_one_and_must_be_there(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    _, reader = cluster.start("ro")
    client.create("c", 8)
    segment(client, range(30))
    client.create_index("c", Engine.IVF_FLAT)
    ((name, file_id, engine),) = cluster.rows("SELECT segment_id, file_id, engine_type FROM TableFiles WHERE id = 2")
    place = cluster.storage / "db" / "tables" / "c" / name / file_id
    assert struct.unpack_from("<iQ3s", place.read_bytes()) == (engine, 3, b"IVF") == (2, 3, b"IVF")
    place.unlink()
    assert reader.search_files("c", [2], ROWS[:1], 1, NPROBE).reason.startswith("Failed to load index file : DISK2CPU")


def test_a_backup_file_stays_searchable_as_raw_data(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    segment(client, range(30))
    client.create_index("c", Engine.IVF_FLAT)
    assert client.search_files("c", [1], ROWS[:1], 1, NPROBE).ids == [[0]]


def test_few_rows_stay_raw_after_create_index(cluster: Cluster) -> None:
    _, client = cluster.start("rw", build_threshold=31)
    client.create("c", 8)
    segment(client, range(30))
    assert client.create_index("c", Engine.IVF_FLAT).reason == "OK"
    assert cluster.files() == {1: RAW}


def test_dropping_an_index_has_a_gap_between_its_two_statements(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    segment(client, range(30))
    client.create_index("c", Engine.IVF_FLAT)
    _, reader = cluster.start("ro")
    with node.hooks.pause_at(Point.INDEX_DROPPED) as gap:
        dropping = client.begin("DropIndex", NAME)
        gap.wait_reached()
        assert cluster.files() == {1: BACKUP, 2: TO_DELETE}
        assert reader.search("c", ROWS[:1], 1, NPROBE).row_num == 0
    assert dropping.result().reason == "OK"
    assert cluster.files() == {1: RAW, 2: TO_DELETE}


def test_another_index_replaces_the_first_one(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    segment(client, range(30))
    client.create_index("c", Engine.IVF_FLAT)
    client.create_index("c", Engine.IVF_SQ8)
    assert cluster.files() == {1: BACKUP, 2: TO_DELETE, 3: INDEX}
    assert client.create_index("c", Engine.IVF_SQ8).reason == "OK"
    assert cluster.files() == {1: BACKUP, 2: TO_DELETE, 3: INDEX}


def test_marking_for_an_index_leaves_the_time_of_the_row(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    segment(client, range(30))
    before = cluster.rows("SELECT updated_time FROM TableFiles")
    with node.hooks.pause_at(Point.INDEX_NEW) as new:
        building = client.begin_create_index("c", Engine.IVF_FLAT)
        new.wait_reached()
        assert cluster.rows("SELECT updated_time FROM TableFiles WHERE id = 1 AND file_type = 2") == before
    building.result()


def test_a_delete_changes_count_and_time_of_every_row_of_the_segment_after_the_file(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    segment(client, range(30))
    client.create_index("c", Engine.IVF_FLAT)
    before = dict(cluster.rows("SELECT id, updated_time FROM TableFiles"))
    client.delete("c", [0, 1, 999])
    with node.hooks.pause_at(Point.DELETE_WRITTEN) as written:
        flushing = client.begin("Flush", FLUSH)
        written.wait_reached()
        assert _deleted_docs(cluster) == [0, 1]
        assert cluster.rows("SELECT row_count FROM TableFiles") == [(30,), (30,)]
    flushing.result()
    assert cluster.rows("SELECT row_count FROM TableFiles") == [(28,), (28,)]
    after = dict(cluster.rows("SELECT id, updated_time FROM TableFiles"))
    assert all(after[number] > before[number] for number in (1, 2))
    assert client.count("c") == 28


def test_compaction_shows_two_segments_at_once(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    _, reader = cluster.start("ro")
    client.create("c", 8)
    segment(client, range(30))
    client.delete("c", range(10))
    client.flush("c")
    with node.hooks.pause_at(Point.COMPACT_BOTH) as both:
        compacting = client.begin("Compact", NAME)
        both.wait_reached()
        assert cluster.files() == {1: RAW, 2: RAW}
        assert reader.search("c", ROWS[20:21], 2).ids == [[20, 20]]
    compacting.result()
    assert cluster.files() == {1: TO_DELETE, 2: RAW}
    assert cluster.rows("SELECT COUNT(DISTINCT segment_id) FROM TableFiles") == [(2,)]
    assert client.count("c") == 20


def test_compaction_lets_little_be_and_an_empty_segment_vanish(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    two_segments(client)
    client.delete("c", [0, 1, *range(30, 60)])
    client.flush("c")
    assert client.on("Compact", "c").reason == "OK"
    assert cluster.files() == {1: RAW, 2: TO_DELETE, 3: TO_DELETE}


def test_an_indexed_segment_is_compacted_to_a_raw_file_that_is_indexed_again(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS, range(60))
    client.create_index("c", Engine.IVF_FLAT)
    client.delete("c", range(20))
    client.flush("c")
    client.on("Compact", "c")
    last = {1: TO_DELETE, 2: TO_DELETE, 3: BACKUP, 4: INDEX}
    eventually(lambda: cluster.files() == last, 10, "the index is built again")
    assert cluster.rows("SELECT engine_type FROM TableFiles WHERE id = 3") == [(2,)]


def compacted_under_an_index(cluster: Cluster, client: NodeClient) -> None:
    """Leave file 1 TO_DELETE: a raw file that was flushed when the collection had an index already."""
    client.create("c", 8)
    client.create_index("c", Engine.IVF_FLAT)
    segment(client, range(10))
    client.delete("c", range(5))
    client.flush("c")


def search_old(client: NodeClient, *further: int) -> Found:
    return client.search_files("c", [1, *further], ROWS[5:6], 1, NPROBE)


def test_a_deleted_raw_file_of_an_indexed_collection_fails_the_whole_request(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    compacted_under_an_index(cluster, client)
    client.on("Compact", "c")
    assert cluster.files() == {1: TO_DELETE, 2: RAW}
    _, reader = cluster.start("ro")
    found = search_old(reader, 2)
    assert (found.code, found.ids) == (1, [])
    assert found.reason.startswith("Failed to load index file")
    _, other = cluster.start("ro", load_failure="index is null")
    assert search_old(other, 2).reason == "index is null"


def test_it_is_still_searched_where_it_is_cached(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    node, reader = cluster.start("ro")
    compacted_under_an_index(cluster, client)
    assert search_old(reader).ids == [[5]]
    client.on("Compact", "c")
    assert search_old(reader).ids == [[5]]
    assert node.cached_files() == [name for (name,) in cluster.rows("SELECT file_id FROM TableFiles WHERE id = 1")]


def test_a_deleted_raw_file_from_before_the_index_is_searched_while_it_exists(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    two_segments(client)
    client.create_index("c", Engine.IVF_FLAT)
    assert cluster.files()[1] == TO_DELETE
    _, reader = cluster.start("ro")
    assert reader.search_files("c", [1], ROWS[:1], 1, NPROBE).ids == [[0]]


def test_deleted_files_can_also_count_as_unknown_at_once(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    two_segments(client)
    client.create_index("c", Engine.IVF_FLAT)
    _, reader = cluster.start("ro", skips_deleted_files=True)
    assert reader.search_files("c", [1], ROWS[:1], 1, NPROBE).reason == "Invalid file id"


def test_rows_and_files_go_after_the_delay_and_then_the_id_is_unknown(cluster: Cluster) -> None:
    _, client = cluster.start("rw", cleanup_delay_s=0)
    two_segments(client)
    client.create_index("c", Engine.IVF_FLAT)
    eventually(lambda: cluster.files() == {3: BACKUP, 4: INDEX}, 10, "the clean-up")
    assert len(list((cluster.storage / "db" / "tables" / "c").iterdir())) == 1
    _, reader = cluster.start("ro")
    assert reader.search_files("c", [1], ROWS[:1], 1, NPROBE).reason == "Invalid file id"
    assert reader.search_files("c", [1, 4], ROWS[:1], 1, NPROBE).ids == [[0]]


def test_a_dropped_collection_loses_its_row_at_once_and_its_files_later(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    two_segments(client)
    client.on("DropCollection", "c")
    eventually(lambda: not cluster.rows("SELECT id FROM Tables"), 10, "the row of the collection goes")
    assert cluster.files() == {1: TO_DELETE, 2: TO_DELETE}
    assert len(list((cluster.storage / "db" / "tables" / "c").iterdir())) == 2


def test_files_of_a_dropped_collection_fail_a_search_of_another_one(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    two_segments(client)
    client.create("other", 8)
    client.on("DropCollection", "c")
    found = client.search_files("other", [1], ROWS[:1], 1)
    assert (found.code, found.reason) == (1, "Collection c not found")
    assert client.search_files("c", [1], ROWS[:1], 1).code == 4


def test_sqlite_gives_the_ids_of_removed_rows_again(cluster: Cluster) -> None:
    _, client = cluster.start("rw", cleanup_delay_s=0)
    two_segments(client)
    client.on("DropCollection", "c")
    eventually(lambda: not cluster.files() and not cluster.rows("SELECT id FROM Tables"), 10, "the clean-up")
    client.create("c", 8)
    segment(client, range(30))
    assert cluster.rows("SELECT id FROM TableFiles") == [(1,)]


def test_a_killed_node_leaves_its_shadow_row_until_the_next_start(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS[:30], range(30))
    node.hooks.pause_at(Point.FLUSH_NEW)
    flushing = client.begin("Flush", FLUSH)
    eventually(lambda: cluster.files() == {1: FileType.NEW}, 10, "the flush has begun")
    node.kill()
    assert flushing.exception() is not None
    assert cluster.files() == {1: FileType.NEW}
    _, again = cluster.start("rw")
    assert cluster.files() == {}
    assert again.count("c") == 0


def _deleted_docs(cluster: Cluster) -> list[int]:
    place: Path = next((cluster.storage / "db" / "tables" / "c").glob("*/deleted_docs"))
    return [offset for (offset,) in struct.iter_unpack("<i", place.read_bytes()[8:])]
