"""A node goes by other sizes while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from milvus_node.assembly import Node
from milvus_node.config import CacheOptions, NodeOptions, StorageOptions
from milvus_node.settings.keys import size_text

OPTIONS = NodeOptions(storage=StorageOptions(auto_flush_interval_s=0))


@pytest.fixture
def options(tmp_path: Path) -> NodeOptions:
    return replace(OPTIONS, storage=replace(OPTIONS.storage, path=tmp_path))


@pytest.fixture
def node(options: NodeOptions) -> Iterator[Node]:
    made = Node(options)
    made.open()
    yield made
    made.close()


def test_the_cache_gets_the_size_that_is_set_now(node: Node, options: NodeOptions) -> None:
    node.reconfigure(replace(options, cache=CacheOptions(64 << 20, 32 << 20)))
    assert node.cache.capacity_bytes == 64 << 20
    assert node._settings.get("cache.cache_size") == size_text(64 << 20)
    assert node._buffer_bytes == 32 << 20
    assert not node._settings.restart_required


def test_what_was_set_by_a_call_stays(node: Node, options: NodeOptions) -> None:
    node._settings.set("cache.cache_size", "128MB")
    node.reconfigure(replace(options, cache=CacheOptions(64 << 20, 32 << 20)))
    assert node.cache.capacity_bytes == 128 << 20
    assert node._settings.get("cache.cache_size") == "128MB"
    assert node._buffer_bytes == 32 << 20
