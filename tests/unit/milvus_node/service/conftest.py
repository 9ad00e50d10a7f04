"""A writable and a read-only node on one folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.node_rpc import Rpc, quieten
from milvus_node.assembly import Node
from milvus_node.config import NodeOptions, StorageOptions
from milvus_node.roles import Role


@pytest.fixture
def storage(tmp_path: Path) -> StorageOptions:
    """A folder in which nothing happens by itself."""
    return StorageOptions(path=tmp_path, auto_flush_interval_s=0, file_cleanup_timeout_s=3600)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    yield found
    found.close()


@pytest.fixture
def rpc(storage: StorageOptions, loop: asyncio.AbstractEventLoop) -> Iterator[Rpc]:
    """A writable node."""
    node = Node(NodeOptions(storage=storage))
    made = Rpc(node, loop)
    quieten(node)
    yield made
    node.close()


@pytest.fixture
def reader(rpc: Rpc, storage: StorageOptions, loop: asyncio.AbstractEventLoop) -> Iterator[Rpc]:
    """A read-only node on the same folder."""
    node = Node(NodeOptions(storage=storage, role=Role.READONLY))
    yield Rpc(node, loop)
    node.close()
