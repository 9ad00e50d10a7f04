"""A writable node in this process, and a connection to it that loses what it is told to lose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milvus_node.assembly import Node
from milvus_node.config import NodeOptions, StorageOptions
from mishards.bulk.remote import Remote, Schema
from mishards.deadline import Deadline
from mishards.errors import NodeUnavailable
from mishards.kinds import MetricType
from mishards.transport.api import Call, Handler, Metadata

SCHEMA = Schema("things", 4, MetricType.L2, 64)

Fault = Callable[[], Exception]


class FaultyChannel:
    """Calls a node's handler. ``faults`` say, insert by insert, what goes wrong: nothing, before it, or after it."""

    address = "node:1"

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.faults: list[str] = []
        self.inserts = 0
        """Inserts that reached the node."""

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """As ``Channel.call``."""
        fault = self.faults.pop(0) if method == "Insert" and self.faults else ""
        if fault == "unsent":
            raise NodeUnavailable(self.address, "refused", sent=False)
        if fault == "lost request":
            raise NodeUnavailable(self.address, "reset")
        self.inserts += method == "Insert"
        reply = await self._handler(Call(method, request, metadata, deadline))
        if fault == "lost reply":
            raise NodeUnavailable(self.address, "reset")
        return reply

    async def close(self) -> None:
        """As ``Channel.close``."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mishards.bulk.delivery._FIRST_PAUSE_S", 0.01)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[FaultyChannel]:
    """A connection to a node that does nothing by itself."""
    node = Node(NodeOptions(storage=StorageOptions(path=tmp_path / "node", auto_flush_interval_s=0)))
    yield FaultyChannel(node.open())
    node.close()


@pytest.fixture
def remote(channel: FaultyChannel) -> Remote:
    return Remote(channel)
