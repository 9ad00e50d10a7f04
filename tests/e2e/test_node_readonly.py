"""A read-only node: it changes nothing anywhere, needs no right to, and serves what it has when all else is away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.mariadb import Database, MariaDB
from harness.node_calls import NodeCalls, status
from harness.rpc import params, records
from harness.servers import node
from harness.vectors import gaussian
from harness.waiting import eventually
from milvus_node.roles import WRITES

DIM = 16
SEGMENTS = 3
ROWS = 200
"""Rows of each segment."""

Tree = dict[str, tuple[int, int, int]]


def rows(segment: int) -> range:
    return range(segment * ROWS, (segment + 1) * ROWS)


@pytest.fixture
def written(tmp_path: Path, mysql_database: Database) -> Path:
    """A folder with the collections ``words`` and ``cold``, left by a writable node that has stopped."""
    server = node(tmp_path, flags=["--metadata", mysql_database.uri])
    with server, NodeCalls(server.launch()) as rpc:
        for name in ("words", "cold"):
            rpc.create(name, dimension=DIM)
            for segment in range(SEGMENTS):
                rpc.insert(name, gaussian(ROWS, DIM, seed=segment), rows(segment)[0])
        rpc.ok("DeleteByID", collection_name="words", id_array=[7])
        rpc.flush("words")
        assert server.terminate() == 0
    return tmp_path


def tree(folder: Path) -> Tree:
    """Every path below with inode, size and the time of its last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path)] = state.st_ino, state.st_size, state.st_mtime_ns
    return found


@contextmanager
def write_protected(folder: Path, at: Path) -> Iterator[Path]:
    """The folder where nobody can write: root through a mount, others by its mode."""
    if os.geteuid() == 0:
        at.mkdir()
        bound = subprocess.run(["mount", "--bind", folder, at], check=False, capture_output=True, text=True)
        if bound.returncode != 0:
            pytest.skip(f"this root may not mount: {bound.stderr}")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", at], check=True)
            yield at
        finally:
            subprocess.run(["umount", "--lazy", at], check=True)
    else:
        subprocess.run(["chmod", "-R", "a-w", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["chmod", "-R", "u+w", folder], check=True)


def assert_serves(rpc: NodeCalls, name: str = "words") -> None:
    queries = gaussian(ROWS, DIM, seed=1)[:5]
    assert rpc.search(name, queries).ravel().tolist() == list(rows(1))[:5]


REQUESTS: dict[str, dict[str, Any]] = {
    "CreateCollection": {"collection_name": "new", "dimension": DIM, "index_file_size": 10, "metric_type": 1},
    "DropCollection": {"collection_name": "words"},
    "CreateIndex": {"collection_name": "words", "index_type": 2, "extra_params": params('{"nlist":8}')},
    "DropIndex": {"collection_name": "words"},
    "CreatePartition": {"collection_name": "words", "tag": "new"},
    "DropPartition": {"collection_name": "words", "tag": "_default"},
    "Insert": {"collection_name": "words", "row_record_array": records(gaussian(1, DIM)), "row_id_array": [1]},
    "DeleteByID": {"collection_name": "words", "id_array": [1]},
    "Flush": {"collection_name_array": ["words"]},
    "Compact": {"collection_name": "words"},
}


def test_every_write_is_refused_and_nothing_is_written_anywhere(written: Path, mysql_database: Database) -> None:
    assert REQUESTS.keys() == WRITES
    before = tree(written / "data")
    home = written / "home"
    home.mkdir()
    with write_protected(written / "data", written / "protected") as storage:
        flags = ["--storage", str(storage), "--metadata", mysql_database.readonly_uri]
        with node(home, role="readonly", flags=flags) as server, NodeCalls(server.launch()) as rpc:
            for method, fields in REQUESTS.items():
                code, reason = status(rpc.call(method, **fields))
                assert (code, method in reason, "read-only" in reason) == (3, True, True), reason
            assert_serves(rpc)
            assert rpc.count("words") == SEGMENTS * ROWS - 1
            stored = rpc.ok("GetVectorsByID", collection_name="words", id_array=[7, 8]).vectors_data
            assert [len(row.float_data) for row in stored] == [0, DIM]
            rpc.ok("ShowCollectionInfo", collection_name="words")
            rpc.ok("PreloadCollection", collection_name="cold")
            rpc.ok("ReleaseCollection", collection_name="cold")
            rpc.ok("ReloadSegments", collection_name="words")
            rpc.ok("Cmd", cmd="set_config cache.cache_size 64MB")
            assert_serves(rpc, "cold")
            assert server.terminate() == 0
    assert tree(written / "data") == before
    assert [path.name for path in home.iterdir()] == [server.log.name]


def test_metadata_in_sqlite_is_read_where_nothing_can_be_written_though_its_writer_has_stopped(tmp_path: Path) -> None:
    home, writer_home = tmp_path / "home", tmp_path / "writer"
    home.mkdir()
    writer_home.mkdir()
    storage = writer_home / "data"

    def write(seed: int) -> None:
        with node(writer_home) as server, NodeCalls(server.launch()) as rpc:
            if not seed:
                rpc.create("words", dimension=DIM)
            rpc.insert("words", gaussian(ROWS, DIM, seed=seed), rows(seed)[0])
            rpc.flush("words")
            assert server.terminate() == 0

    write(0)
    assert not list(storage.glob("meta.sqlite-*"))
    with write_protected(storage, tmp_path / "protected") as protected:
        metadata = f"sqlite:///{protected / 'meta.sqlite'}"
        server = node(home, role="readonly", flags=["--storage", str(protected), "--metadata", metadata])
        with server, NodeCalls(server.launch()) as rpc:
            assert rpc.count("words") == ROWS
            if protected != storage:  # who made the folder read-only cannot write either
                write(1)
                eventually(lambda: rpc.count("words") == 2 * ROWS, 20, "the reader sees what was written since")
                assert_serves(rpc)
            assert server.terminate() == 0


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_what_is_loaded_is_served_while_database_and_storage_are_away(
    written: Path, mysql_database: Database, mariadb: MariaDB, how: str
) -> None:
    storage = written / "data"
    server = node(written, role="readonly", flags=["--metadata", mysql_database.readonly_uri])
    with server, NodeCalls(server.launch()) as rpc:
        assert_serves(rpc)
        if how == "frozen":
            mariadb.pause()
        else:
            mariadb.kill()
        storage.rename(written / "away")
        try:
            for _ in range(3):
                assert_serves(rpc)
            assert rpc.count("words") == SEGMENTS * ROWS - 1
            code, reason = status(search_cold(rpc))
            assert code not in (0, 3)
            assert str(storage) in reason
            assert_serves(rpc)
        finally:
            (written / "away").rename(storage)
            if how == "frozen":
                mariadb.resume()
            else:
                mariadb.launch()
        assert_serves(rpc, "cold")
        assert_serves(rpc)
        assert server.terminate() == 0
    assert mariadb.answers()


def search_cold(rpc: NodeCalls) -> object:
    return rpc.call(
        "Search",
        collection_name="cold",
        query_record_array=records(gaussian(1, DIM)),
        topk=1,
        extra_params=params(),
    )


def test_a_reader_that_starts_without_a_database_serves_once_it_is_there(
    written: Path, mysql_database: Database, mariadb: MariaDB
) -> None:
    server = node(written, role="readonly", flags=["--metadata", mysql_database.readonly_uri])
    mariadb.pause()
    try:
        with server, NodeCalls(server.launch()) as rpc:
            code, reason = status(rpc.call("CountCollection", collection_name="words"))
            assert code == 15
            assert "metadata database" in reason
            mariadb.resume()
            eventually(lambda: status(rpc.call("CountCollection", collection_name="words"))[0] == 0, 20, "it counts")
            assert_serves(rpc)
    finally:
        mariadb.resume()


def test_a_node_that_is_told_to_stop_while_it_preloads_ends_although_its_storage_hangs(tmp_path: Path) -> None:
    with node(tmp_path) as server, NodeCalls(server.launch()) as rpc:
        rpc.create("words", dimension=DIM)
        rpc.insert("words", gaussian(ROWS, DIM, seed=0), rows(0)[0])
        rpc.flush("words")
        assert server.terminate() == 0
    for ids in (tmp_path / "data").rglob("*.uid"):
        ids.unlink()
        os.mkfifo(ids)  # whoever opens it to read waits
    settings = tmp_path / "node.yaml"
    settings.write_text("cache:\n  preload_collection: words\n")
    with node(tmp_path, role="readonly", flags=["--config", str(settings)]) as server:
        server.start(lambda: "preloading words" in server.log_text(), timeout_s=60)
        assert server.terminate(timeout_s=30) == 0
        assert "ready" not in server.log_text()
