from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from harness.node_rpc import WAIT_S, Rpc, floats, ok, records
from harness.waiting import eventually
from milvus_node.assembly import Node
from milvus_node.config import ElectionSettings, NodeOptions, StorageOptions
from milvus_node.errors import FolderLocked
from milvus_node.ingest.build import IndexBuilder
from milvus_node.roles import Role
from mishards.wire.protos import milvus_pb2 as pb

ALONE = ElectionSettings(uri="none")
"""Elects nobody, and so wants the folder for itself."""


def test_rows_that_were_not_flushed_are_there_after_a_restart(
    storage: StorageOptions, loop: asyncio.AbstractEventLoop
) -> None:
    first = Rpc(Node(NodeOptions(storage=storage)), loop)
    first.create()
    ok(first.Insert(collection_name="words", row_record_array=records(floats(1, 2))))
    first.node.close()
    second = Rpc(Node(NodeOptions(storage=storage)), loop)
    assert ok(second.CountCollection(collection_name="words")).collection_row_count == 2
    second.node.close()


def test_a_folder_has_one_writable_node_that_elects_nobody_and_many_that_read(
    rpc: Rpc, reader: Rpc, storage: StorageOptions, loop: asyncio.AbstractEventLoop
) -> None:
    rpc.create()
    second = Node(NodeOptions(storage=storage, election=ALONE))
    with pytest.raises(FolderLocked):
        second.open()
    second.close()
    another = Rpc(Node(NodeOptions(storage=storage, role=Role.READONLY)), loop)
    for node in (rpc, reader, another):
        assert list(ok(node.ShowCollections()).collection_names) == ["words"]
    another.node.close()


def test_closing_twice_is_closing_once(rpc: Rpc) -> None:
    rpc.create()
    rpc.node.close()


def test_a_folder_stays_locked_while_work_outlives_its_node(
    rpc: Rpc, storage: StorageOptions, monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    building, free = threading.Event(), threading.Event()
    build: Callable[..., Any] = IndexBuilder.build

    def slow(*args: Any) -> Any:
        building.set()
        assert free.wait(WAIT_S)
        return build(*args)

    monkeypatch.setattr(IndexBuilder, "build", slow)
    rpc.create()
    rpc.insert([[float(i)] * 4 for i in range(4096)], range(4096))
    params = [pb.KeyValuePair(key="params", value='{"nlist":16}')]

    async def create_index() -> None:
        request = pb.IndexParam(collection_name="words", index_type=2, extra_params=params)
        task = asyncio.ensure_future(rpc.begin("CreateIndex", request))
        assert await asyncio.to_thread(building.wait, WAIT_S)
        task.cancel()

    loop.run_until_complete(create_index())
    rpc.node.close()
    with pytest.raises(FolderLocked):
        Node(NodeOptions(storage=storage, election=ALONE)).open()
    free.set()

    def ended() -> bool:
        loop.run_until_complete(asyncio.sleep(0))
        return rpc.node._is_idle()

    eventually(ended, WAIT_S, "the build ends")
