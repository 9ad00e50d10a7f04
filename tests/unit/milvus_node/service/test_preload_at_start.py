"""What a node loads before it serves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.node_rpc import WAIT_S, Rpc, floats, ok
from harness.waiting import eventually
from milvus_node.assembly import Node
from milvus_node.config import CacheOptions, NodeOptions, StorageOptions
from milvus_node.roles import Role
from milvus_node.storage import raw_segment
from mishards.catalog.cache import SnapshotCache
from mishards.errors import CatalogUnavailable

Start = Callable[..., Rpc]


@pytest.fixture
def written(rpc: Rpc) -> Rpc:
    """``a`` of two segments of 1.6 KB each, ``b`` of one."""
    for name, segments in (("a", 2), ("b", 1)):
        rpc.create(name)
        for _ in range(segments):
            rpc.insert(np.zeros((100, 4), np.float32), name=name)
    return rpc


def read_only(storage: StorageOptions, wanted: str, size: int = 1 << 30) -> Node:
    cache = CacheOptions(cache_size_bytes=size, preload_collection=wanted)
    return Node(NodeOptions(storage=storage, cache=cache, role=Role.READONLY))


@pytest.fixture
def start(written: Rpc, storage: StorageOptions, loop: asyncio.AbstractEventLoop) -> Iterator[Start]:
    nodes: list[Node] = []

    def started(wanted: str, size: int = 1 << 30) -> Rpc:
        nodes.append(read_only(storage, wanted, size))
        return Rpc(nodes[-1], loop)

    yield started
    for node in nodes:
        node.close()


@pytest.mark.parametrize(("wanted", "segments"), [("", 0), ("a", 2), ("b, a", 3), ("*", 3), ("b,unknown", 1)])
def test_the_collections_named_are_in_memory_before_the_first_call(
    start: Start, wanted: str, segments: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "milvus_node.search.preload")
    node = start(wanted)
    assert node.node.cache.usage.segments == segments
    assert ("preloaded" in caplog.text) == (segments > 0)
    assert ("unknown is to be preloaded and does not exist" in caplog.text) == ("unknown" in wanted)
    ok(node.search(floats(1), name="a"))


def test_no_more_is_loaded_than_the_cache_holds(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    node = start("*", size=7500)
    usage = node.node.cache.usage
    assert (usage.segments, usage.evictions) == (2, 0)
    assert "Cache is full: 2 segments of * are loaded" in caplog.text
    ok(node.search(floats(1), name="b"))


def test_what_cannot_be_loaded_is_passed_over(
    start: Start, written: Rpc, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = written.node._catalog.known().collection("a").segments[0]
    path = written.node._layout.segment("a", broken.segment_id).path / f"{broken.segment_id}.uid"
    path.write_bytes(path.read_bytes()[:-1])
    node = start("a,b")
    assert node.node.cache.usage.segments == 2
    assert f"segment {broken.segment_id} of a is not preloaded" in caplog.text
    with monkeypatch.context() as away:
        away.setattr(SnapshotCache, "fresh", _away)
        away.setattr(raw_segment, "_open", pytest.fail)
        assert start("*").node.cache.usage.segments == 0
    assert "not all of * is preloaded: the database is away" in caplog.text


def test_a_node_that_is_to_stop_waits_for_no_load_and_begins_none(
    written: Rpc, storage: StorageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, free, done = threading.Event(), threading.Event(), threading.Event()
    begun = []
    opened = raw_segment._open

    def hanging(path: Path, expected: int | None = None) -> Any:
        begun.append(path)
        loading.set()
        assert free.wait(WAIT_S)
        return opened(path, expected)

    monkeypatch.setattr(raw_segment, "_open", hanging)
    node = read_only(storage, "*")

    def open_it() -> None:
        node.open()
        done.set()

    opening = threading.Thread(target=open_it)
    opening.start()
    try:
        assert loading.wait(WAIT_S)
        node.preload.call_off()
        assert done.wait(WAIT_S)
    finally:
        free.set()
        opening.join(WAIT_S)
    preloads = [thread for thread in threading.enumerate() if thread.name == "preload"]
    eventually(lambda: not any(thread.is_alive() for thread in preloads), WAIT_S, "the load under way ends")
    assert (node.cache.usage.segments, len({path.parent for path in begun})) == (1, 1)
    node.close()


def test_a_node_told_to_stop_before_it_opens_preloads_nothing(written: Rpc, storage: StorageOptions) -> None:
    node = read_only(storage, "*")
    node.preload.call_off()
    node.open()
    assert node.cache.usage.loads == 0
    node.close()


def _away(*_: object) -> None:
    raise CatalogUnavailable("the database is away")


def test_set_config_of_it_acts_at_the_next_start(
    written: Rpc, storage: StorageOptions, loop: asyncio.AbstractEventLoop
) -> None:
    ok(written.Cmd(cmd="set_config cache.preload_collection b"))
    assert written.node.cache.usage.segments == 0
    written.node.close()
    again = Rpc(Node(NodeOptions(storage=storage)), loop)
    try:
        assert ok(again.Cmd(cmd="get_config cache.preload_collection")).string_reply == "b"
        assert again.node.cache.usage.segments == 1
    finally:
        again.node.close()
