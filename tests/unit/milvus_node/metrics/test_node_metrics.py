"""What a whole node shows, called in this process."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from harness.node_rpc import Rpc, ok
from harness.waiting import eventually
from milvus_node.assembly import Node
from milvus_node.config import CacheOptions, NodeOptions, StorageOptions
from milvus_node.errors import StorageError
from milvus_node.metrics import declarations as declared
from milvus_node.metrics.events import Events
from milvus_node.roles import Role
from mishards import __version__
from mishards.deadline import Deadline
from mishards.errors import Code
from mishards.logs.calls import Served
from mishards.metrics.exposition import registry_of
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb

ROWS = np.random.default_rng(5).standard_normal((5000, 4)).astype(np.float32)
WRITING = {
    *("milvus_node_wal_bytes", "milvus_node_wal_queue_bytes", "milvus_node_insert_buffer_bytes"),
}


@pytest.fixture
def options(tmp_path: Path) -> NodeOptions:
    storage = StorageOptions(path=tmp_path, auto_flush_interval_s=0, file_cleanup_timeout_s=3600)
    return NodeOptions(storage=storage, cache=CacheOptions(cache_size_bytes=1 << 20))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def rpc(options: NodeOptions, loop: asyncio.AbstractEventLoop) -> Iterator[Rpc]:
    node = Node(options)
    yield Rpc(node, loop)
    node.close()


def shown(rpc: Rpc, name: str, **labels: str) -> float | None:
    return rpc.node.metrics.get_sample_value(name, labels)


def names(rpc: Rpc) -> set[str]:
    text = generate_latest(rpc.node.metrics).decode()
    return set(re.findall(r"^# TYPE (milvus_node_\w+)", text, re.MULTILINE))


def test_the_whole_life_of_rows_shows(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(ROWS)
    assert shown(rpc, "milvus_node_requests_total", method="Insert", code="SUCCESS") == 1
    assert (shown(rpc, "milvus_node_wal_sync_duration_seconds_count") or 0) >= 1
    assert (shown(rpc, "milvus_node_wal_bytes") or 0) > 0
    assert shown(rpc, "milvus_node_wal_queue_bytes") == 0
    assert shown(rpc, "milvus_node_insert_buffer_bytes") == 0
    assert shown(rpc, "milvus_node_task_duration_seconds_count", task="flush") == 1
    assert shown(rpc, "milvus_node_segments", state="raw") == 1
    assert shown(rpc, "milvus_node_rows") == 5000
    assert shown(rpc, "milvus_node_bytes") == 5000 * (4 * 4 + 8)
    params = pb.KeyValuePair(key="params", value='{"nlist": 4}')
    ok(rpc.CreateIndex(collection_name="words", index_type=2, extra_params=[params]))
    assert shown(rpc, "milvus_node_task_duration_seconds_count", task="build") == 1
    assert shown(rpc, "milvus_node_segments", state="indexed") == 1


def test_searches_show_in_the_cache_and_by_stage(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(ROWS)
    for _ in range(3):
        rpc.search(ROWS[:2])
    assert shown(rpc, "milvus_node_cache_loads_total") == 1
    assert shown(rpc, "milvus_node_cache_hits_total") == 2
    assert shown(rpc, "milvus_node_cache_load_duration_seconds_count") == 1
    assert shown(rpc, "milvus_node_cache_segments") == 1
    assert shown(rpc, "milvus_node_cache_rows") == 5000
    assert shown(rpc, "milvus_node_cache_capacity_bytes") == 1 << 20
    assert (shown(rpc, "milvus_node_cache_bytes") or 0) >= 5000 * 4 * 4
    for stage in ("wait", "check", "search"):
        assert shown(rpc, "milvus_node_search_stage_duration_seconds_count", stage=stage) == 3
    for pool in ("search", "write", "definition", "info"):
        assert shown(rpc, "milvus_node_requests_in_progress", pool=pool) == 0


def test_a_writable_node_shows_everything_and_a_read_only_node_all_but_writing(
    rpc: Rpc, options: NodeOptions, loop: asyncio.AbstractEventLoop
) -> None:
    assert names(rpc) == {metric.name for metric in declared.ALL}
    node = Node(replace(options, role=Role.READONLY))
    try:
        reader = Rpc(node, loop)
        expected = {metric.name for metric in declared.ALL} - WRITING
        eventually(lambda: names(reader) == expected, 30, "the first snapshot is read")
        assert shown(reader, "milvus_node_build_info", role="readonly", version=__version__) == 1
    finally:
        node.close()


def test_every_loop_shows_its_age_and_its_failures(rpc: Rpc) -> None:
    for loop in ("merge", "index-build", "cleanup", "catalog-refresh"):
        assert (shown(rpc, "milvus_node_loop_age_seconds", loop=loop) or 0) >= 0
        assert shown(rpc, "milvus_node_loop_failures_total", loop=loop) == 0


def test_what_fails_is_counted_by_code(rpc: Rpc) -> None:
    rpc.search(ROWS[:1], name="absent")
    assert shown(rpc, "milvus_node_requests_total", method="Search", code="COLLECTION_NOT_EXISTS") == 1


def test_work_that_fails_is_measured_and_counted(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    rpc.create()

    def away(*_: object) -> None:
        raise StorageError("the folder is away")

    monkeypatch.setattr("milvus_node.ingest.flush.Flusher._show", away)
    rpc.Insert(collection_name="words", row_record_array=[pb.RowRecord(float_data=row) for row in ROWS[:2].tolist()])
    assert rpc.Flush(collection_name_array=["words"]).error_code
    assert shown(rpc, "milvus_node_task_failures_total", task="flush") == 1
    assert shown(rpc, "milvus_node_task_duration_seconds_count", task="flush") == 1
    monkeypatch.undo()


def test_methods_that_nobody_knows_share_one_name(rpc: Rpc) -> None:
    events = Events()
    for number in range(3):
        events.ended(Served(Call(f"Guess{number}", b"", (), Deadline.never()), "r", Code.UNEXPECTED_ERROR, "", 0.1))
    labels = {"method": "unknown", "code": "UNEXPECTED_ERROR"}
    assert registry_of([events]).get_sample_value("milvus_node_requests_total", labels) == 3


def test_a_search_leaves_a_line_with_the_id_that_the_router_sent(rpc: Rpc, caplog: pytest.LogCaptureFixture) -> None:
    rpc.create()
    rpc.insert(ROWS[:5])
    caplog.set_level(logging.INFO, "mishards.access")
    query = pb.RowRecord(float_data=ROWS[0].tolist())
    request = pb.SearchParam(collection_name="words", query_record_array=[query], topk=3)
    request.extra_params.add(key="params", value="{}")
    rpc.call("Search", request, [("request_id", "r-7")])
    (line,) = [record.getMessage() for record in caplog.records if "method=Search" in record.getMessage()]
    for fact in ("request_id=r-7", "collection=words", "nq=1", "topk=3", "segments=1", "code=0"):
        assert f" {fact}" in line
    for stage in ("wait_ms=", "check_ms=", "search_ms=", " ms="):
        assert stage in line
