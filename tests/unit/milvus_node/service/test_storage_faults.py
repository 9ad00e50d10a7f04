"""Storage that hangs or errs while a segment is loaded: what is loaded is searched, other collections are loaded."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.node_rpc import WAIT_S, Rpc, floats, ok, search_param, status
from harness.waiting import eventually
from milvus_node.assembly import Node
from milvus_node.config import CallOptions, NodeOptions, StorageOptions
from milvus_node.storage import raw_segment
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded
from mishards.transport.api import Call


class Hang:
    """Reads of the collection ``cold`` stand still until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self._open = raw_segment._open

    def __call__(self, path: Path, expected: int | None = None) -> Any:
        if path.parts[-3] == "cold":
            self.begun.set()
            assert self.free.wait(WAIT_S)
        return self._open(path, expected)


@pytest.fixture
def node(storage: StorageOptions, loop: asyncio.AbstractEventLoop) -> Iterator[Rpc]:
    """A node with one thread for searches, that has ``warm`` in memory and ``cold`` and ``other`` not."""
    found = Node(NodeOptions(storage=storage, calls=CallOptions(search_threads=1)))
    rpc = Rpc(found, loop)
    for name in ("cold", "warm", "other"):
        rpc.create(name)
        rpc.insert(floats(1, 2), [1, 2], name=name)
    ok(rpc.search(floats(1), name="warm"))
    yield rpc
    found.close()


@pytest.fixture
def hang(node: Rpc, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    hang = Hang()
    monkeypatch.setattr(raw_segment, "_open", hang)
    yield hang
    hang.free.set()


def test_searches_go_on_while_the_load_of_another_collection_hangs(
    node: Rpc, hang: Hang, loop: asyncio.AbstractEventLoop
) -> None:
    request = search_param(floats(1), 2, name="cold")

    async def with_one_that_hangs() -> None:
        first = asyncio.ensure_future(node.begin("Search", request))
        await asyncio.to_thread(eventually, hang.begun.is_set, WAIT_S, "the load hangs")
        second = Call("Search", request.SerializeToString(), (), Deadline.after(0.05))
        with pytest.raises(DeadlineExceeded):
            await node._serve(second)
        for name in ("warm", "other", "warm"):
            await asyncio.wait_for(node.begin("Search", search_param(floats(1), 2, name=name)), WAIT_S)
        assert not first.done()
        hang.free.set()
        await asyncio.wait_for(first, WAIT_S)

    loop.run_until_complete(with_one_that_hangs())
    assert list(ok(node.search(floats(2), 1, name="cold")).ids) == [2]


def test_an_error_of_the_disk_fails_the_search_by_name_and_is_over_when_the_disk_is_well(
    node: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(raw_segment, "read_fully", broken)
        code, reason = status(node.search(floats(1), name="cold"))
        assert code != 0
        assert ".uid: Input/output error" in reason
        ok(node.search(floats(1), name="warm"))
    assert node.node.warnings() == []
    assert list(ok(node.search(floats(2), 1, name="cold")).ids) == [2]
