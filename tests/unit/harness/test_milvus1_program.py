"""The double as a process of its own, and over MariaDB."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.client import RemoteClient
from harness.mariadb import Database, MariaDB
from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import Cluster
from harness.milvus1.hooks import Point
from harness.milvus1.kinds import Engine, FileType
from harness.milvus1.options import Role
from harness.milvus1.program import Milvus1Program
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.wire.protos.milvus_pb2 import FlushParam

ROWS = gaussian(60, 8)
QUIET = ("auto_flush_interval_s=0", "build_threshold=20")

Start = Callable[..., tuple[Milvus1Program, NodeClient]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a node as a process and connect to it; both are taken down after the test."""
    with ExitStack() as stack:

        def run(role: Role, *options: str, **further: Any) -> tuple[Milvus1Program, NodeClient]:
            program = Milvus1Program(role, "sqlite://:@:/", tmp_path / "storage", tmp_path, *QUIET, *options, **further)
            stack.enter_context(program).launch()
            return program, stack.enter_context(NodeClient(program.address))

        yield run


def two_segments(client: NodeClient) -> None:
    client.create("c", 8)
    for half in (range(30), range(30, 60)):
        client.insert("c", ROWS[half], half)
        client.flush("c")


def test_processes_share_the_folder_and_the_database_in_it(start: Start, tmp_path: Path) -> None:
    _, writer = start("rw")
    _, reader = start("ro", "version=1.1.0")
    two_segments(writer)
    assert (tmp_path / "storage" / "db" / "meta.sqlite").exists()
    assert reader.search_files("c", [1, 2], ROWS[40:41], 1).ids == [[40]]
    assert reader.command("version").string_reply == "1.1.0"


def test_a_node_killed_in_the_gap_of_a_merge_leaves_the_gap(start: Start, tmp_path: Path) -> None:
    program, writer = start("rw", pause_at=Point.MERGE_GAP)
    two_segments(writer)
    building = writer.begin_create_index("c", Engine.IVF_FLAT)
    program.wait_paused()
    program.kill()
    assert building.exception() is not None
    tables = Cluster(tmp_path, f"sqlite:///{tmp_path / 'storage' / 'db' / 'meta.sqlite'}")
    assert tables.files() == {1: FileType.TO_DELETE, 2: FileType.TO_DELETE, 3: FileType.NEW_MERGE}


def test_a_paused_process_goes_on_at_a_signal_and_ends_at_another(start: Start) -> None:
    program, writer = start("rw", pause_at=Point.FLUSH_NEW)
    writer.create("c", 8)
    writer.insert("c", ROWS, range(60))
    flushing = writer.begin("Flush", FlushParam())
    program.wait_paused()
    program.signal(signal.SIGUSR1)
    assert flushing.result().reason == "OK"
    writer.insert("c", ROWS, range(60, 120))
    assert program.terminate() == 0
    _, again = start("rw")
    assert again.count("c") == 120


def test_a_second_writable_process_ends_with_1_and_says_why(start: Start) -> None:
    start("rw")
    with pytest.raises(AssertionError, match=r"ended with 1(?s:.*)rw instance lock db path failed"):
        start("rw")


@pytest.fixture
def over_mariadb(tmp_path: Path, mysql_database: Database) -> Iterator[Cluster]:
    """Lend a cluster over MariaDB without nodes."""
    with Cluster(tmp_path, mysql_database.uri) as cluster:
        yield cluster


def test_the_tables_are_made_and_used_in_mariadb_too(over_mariadb: Cluster) -> None:
    _, writer = over_mariadb.start("rw")
    _, reader = over_mariadb.start("ro")
    two_segments(writer)
    assert writer.create_index("c", Engine.IVF_FLAT).reason == "OK"
    files = {1: FileType.TO_DELETE, 2: FileType.TO_DELETE, 3: FileType.BACKUP, 4: FileType.INDEX}
    assert over_mariadb.files() == files
    assert reader.search_files("c", [4], ROWS[40:41], 1, '{"nprobe":4}').ids == [[40]]
    columns = {name: kind for name, kind, *_ in over_mariadb.rows("DESC TableFiles")}
    assert columns["id"].startswith("bigint")
    assert columns["segment_id"] == "varchar(255)"
    keys = over_mariadb.rows("SHOW INDEX FROM TableFiles")
    assert len(keys) == 1


def test_mariadb_gives_no_id_twice(over_mariadb: Cluster) -> None:
    _, writer = over_mariadb.start("rw", cleanup_delay_s=0)
    two_segments(writer)
    writer.on("DropCollection", "c")
    eventually(lambda: not over_mariadb.files() and not over_mariadb.rows("SELECT id FROM Tables"), 10, "clean-up")
    two_segments(writer)
    assert list(over_mariadb.files()) == [3, 4]


def test_a_search_fails_while_the_database_is_away_and_works_again_after(
    over_mariadb: Cluster, mariadb: MariaDB
) -> None:
    _, writer = over_mariadb.start("rw")
    _, reader = over_mariadb.start("ro")
    two_segments(writer)
    assert reader.search_files("c", [1], ROWS[:1], 1).ids == [[0]]
    mariadb.kill()
    try:
        assert reader.search_files("c", [1], ROWS[:1], 1).code == 15
    finally:
        mariadb.launch()
    assert reader.search_files("c", [1], ROWS[:1], 1).ids == [[0]]


def test_the_unmodified_client_is_content_with_it(cluster: Cluster, connect: Callable[..., RemoteClient]) -> None:
    node, _ = cluster.start("rw", version="1.1.0")
    client = connect(node.address)
    param = {"collection_name": "c", "dimension": 8, "index_file_size": 1024, "metric_type": 1}
    assert client.call("create_collection", param=param).ok
    assert client.call("insert", collection_name="c", records=ROWS, ids=list(range(60))).value == list(range(60))
    assert client.call("flush", collection_name_array=["c"]).ok
    found = client.call("search", collection_name="c", top_k=100, query_records=ROWS[40:41], params={})
    assert found.value.ids[0][0] == 40
    assert len(found.value.ids[0]) == 60
    assert client.call("create_index", collection_name="c", index_type=Engine.IVF_FLAT, params={"nlist": 4}).ok
    assert (
        client.call("get_collection_stats", collection_name="c").value["partitions"][0]["segments"][0]["index_name"]
        == "IVFFLAT"
    )
