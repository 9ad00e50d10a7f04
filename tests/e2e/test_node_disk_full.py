"""A writable node on a full disk: a clear refusal, searches go on, nothing half-written, and it heals by itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.faults.small_disk import SmallDisk
from harness.node_calls import FLAT, IVF_FLAT, NodeCalls, status
from harness.servers import Server, node
from harness.vectors import Floats, gaussian
from harness.waiting import eventually

DIM = 64
ROW_BYTES = 4 * DIM + 8
DISK_MB = 24
NAME = "words"
CONFIG = """
storage:
  auto_flush_interval_s: 0
  file_cleanup_timeout_s: 0
  bloom_filters: false
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if missing := SmallDisk.missing():
        pytest.skip(missing)
    with SmallDisk(tmp_path / "disk", DISK_MB) as mounted:
        yield mounted


@pytest.fixture
def server(tmp_path: Path, disk: SmallDisk) -> Iterator[Server]:
    """A node that flushes when it is told to; data, log and metadata are all on the small disk."""
    config = tmp_path / "node.yaml"
    config.write_text(CONFIG)
    flags = [
        *("--config", str(config), "--storage", str(disk.root / "data")),
        *("--metadata", f"sqlite:///{disk.root / 'meta.sqlite'}"),
    ]
    with node(tmp_path, flags=flags) as program:
        program.launch()
        yield program


@pytest.fixture
def rpc(server: Server) -> Iterator[NodeCalls]:
    """A node with a thousand rows."""
    with NodeCalls(server.address) as calls:
        calls.create(NAME, dimension=DIM)
        calls.insert(NAME, vectors(0))
        yield calls


def vectors(batch: int) -> Floats:
    """A thousand rows, a quarter of a megabyte."""
    return gaussian(1000, DIM, seed=batch)


def assert_serves(rpc: NodeCalls, batches: int) -> None:
    """Every row of these batches is there once, and a search finds it, also while an index is defined."""
    for batch in range(batches):
        assert rpc.search(NAME, vectors(batch)[:3], text='{"nprobe":16}').ravel().tolist() == [
            batch * 1000 + i for i in range(3)
        ]
    assert rpc.count(NAME) == batches * 1000


def assert_catalog_is_whole(disk: SmallDisk) -> None:
    """What the catalog names is there, and nothing but that once the cleanup has been."""

    def orphans() -> set[tuple[str, str]]:
        found = {(path.parent.name, path.name) for path in (disk.root / "data" / "db" / "tables").glob("*/*")}
        return found - named()

    def named() -> set[tuple[str, str]]:
        with sqlite3.connect(disk.root / "meta.sqlite") as database:
            return set(database.execute("SELECT table_id, segment_id FROM TableFiles WHERE file_type <> 4"))

    for table_id, segment_id in named():
        assert list((disk.root / "data" / "db" / "tables" / table_id / segment_id).iterdir())
    eventually(lambda: not orphans(), 20, "no folder is left that the catalog does not name")
    assert not list(disk.root.rglob("*.tmp"))


def test_an_insert_that_does_not_fit_is_refused_and_later_ones_succeed(
    rpc: NodeCalls, server: Server, disk: SmallDisk
) -> None:
    disk.fill(leave=100_000)
    code, reason = rpc.try_insert(NAME, vectors(1), 1000)
    assert code == 1
    assert "no room" in reason
    assert "No space left on device" in reason
    assert_serves(rpc, 1)
    disk.heal()
    rpc.insert(NAME, vectors(1), 1000)
    assert_serves(rpc, 2)
    server.kill()
    server.launch()
    eventually(lambda: status(rpc.call("CountCollection", collection_name=NAME))[0] == 0, 20, "it is back")
    assert_serves(rpc, 2)
    assert_catalog_is_whole(disk)


def test_without_any_room_nothing_is_begun(rpc: NodeCalls, disk: SmallDisk) -> None:
    rpc.create("other", dimension=DIM)
    disk.fill()
    for name in ("other", NAME):
        code, reason = rpc.try_insert(name, vectors(1), 1000)
        assert code in (1, 15)
        assert "no room" in reason or "full" in reason
    created = rpc.call("CreateCollection", collection_name="new", dimension=8, index_file_size=1, metric_type=1)
    assert created.error_code != 0
    assert "full" in created.reason
    assert_serves(rpc, 1)
    disk.heal()
    assert list(rpc.ok("ShowCollections").collection_names) == [NAME, "other"]
    rpc.insert("other", vectors(1), 1000)
    rpc.insert(NAME, vectors(1), 1000)
    assert_serves(rpc, 2)
    assert rpc.count("other") == 1000
    assert_catalog_is_whole(disk)


def test_a_flush_that_does_not_fit_fails_cleanly_and_is_made_up_for(rpc: NodeCalls, disk: SmallDisk) -> None:
    rpc.insert(NAME, vectors(1), 1000, flush=False)
    rpc.ok("DeleteByID", collection_name=NAME, id_array=[500])
    disk.fill()
    code, reason = status(rpc.call("Flush", collection_name_array=[NAME]))
    assert code in (1, 15)
    assert "full" in reason or "no room" in reason
    assert_serves(rpc, 1)
    disk.heal()
    rpc.flush(NAME)
    assert rpc.count(NAME) == 1999
    assert rpc.search(NAME, vectors(1)[:2]).ravel().tolist() == [1000, 1001]
    assert rpc.search(NAME, vectors(0)[500:501])[0, 0] != 500
    assert_catalog_is_whole(disk)


def test_a_merge_and_a_build_that_do_not_fit_fail_cleanly_and_heal(rpc: NodeCalls, disk: SmallDisk) -> None:
    for batch in range(1, 10):
        rpc.insert(NAME, vectors(batch), batch * 1000)
    assert rpc.create_index(NAME, FLAT, "{}").error_code == 0  # one segment
    eventually(lambda: len(segments(rpc)) == 1, 20, "it is merged")
    disk.fill(leave=1_000_000)
    code, reason = status(rpc.create_index(NAME, IVF_FLAT, '{"nlist":16}'))
    assert code != 0
    assert "no room" in reason
    assert_serves(rpc, 10)
    disk.heal()
    assert status(rpc.create_index(NAME, IVF_FLAT, '{"nlist":16}')) == (0, "OK")
    assert [segment["index_name"] for segment in segments(rpc)] == ["IVFFLAT"]
    assert_serves(rpc, 10)
    assert_catalog_is_whole(disk)


def test_small_segments_are_merged_once_there_is_room(rpc: NodeCalls, disk: SmallDisk) -> None:
    disk.fill(leave=1_600_000)
    for batch in range(1, 3):
        rpc.insert(NAME, vectors(batch), batch * 1000)
    code, reason = status(rpc.create_index(NAME, FLAT, "{}"))
    assert code == 1
    assert "no room" in reason
    assert_serves(rpc, 3)
    disk.heal()
    assert status(rpc.create_index(NAME, FLAT, "{}")) == (0, "OK")
    assert len(segments(rpc)) == 1
    assert_serves(rpc, 3)
    assert_catalog_is_whole(disk)


def test_the_log_stays_small_however_much_is_inserted(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(CONFIG)
    batch, rounds, each = gaussian(20_000, DIM), 5, 2
    largest = 0
    with node(tmp_path, flags=["--config", str(config)]) as program, NodeCalls(program.launch()) as calls:
        calls.create(NAME, dimension=DIM)
        log = tmp_path / "data" / "mishards" / "wal"
        for number in range(rounds):
            for part in range(each):
                calls.insert(NAME, batch, (number * each + part) * len(batch), flush=False)
            calls.flush(NAME)
            largest = max(largest, sum(path.stat().st_size for path in log.iterdir()))
        assert calls.count(NAME) == rounds * each * len(batch)
    inserted = rounds * each * len(batch) * ROW_BYTES
    assert largest <= 16 << 20, "what a flush leaves is less than what makes it begin a new file"
    assert inserted > 3 * largest


def segments(rpc: NodeCalls) -> list[dict[str, object]]:
    """The segments of the collection as its statistics list them."""
    info = json.loads(rpc.ok("ShowCollectionInfo", collection_name=NAME).json_info)
    listed: list[dict[str, object]] = info["partitions"][0]["segments"]
    return listed
