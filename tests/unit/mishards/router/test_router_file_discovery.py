"""A router over nodes that register in a folder: they die, come back elsewhere, and the folder itself is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from mishards.assembly import Edges, Router
from mishards.deadline import Deadline
from mishards.discovery.api import Announcer, NodeRecord, NodeRole
from mishards.discovery.select import announcer_for, discovery_for
from mishards.testing.cluster import QUICK, search_param
from mishards.testing.network import MemoryNetwork
from mishards.testing.node import LiteralNode
from mishards.testing.waiting import eventually_async
from mishards.testing.world import World
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(5)


@dataclass
class InFolder:
    """A router, and nodes that announce themselves in a folder."""

    folder: Path
    world: World = field(default_factory=World)
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    announcers: dict[str, Announcer] = field(default_factory=dict)

    def start(self, name: str, address: str) -> None:
        self.network.bind(address, LiteralNode(self.world))
        announcer = announcer_for(f"file://{self.folder}")
        assert announcer is not None
        announcer.announce(NodeRecord(name, NodeRole.READONLY, address))
        self.announcers[name] = announcer

    def leave(self, name: str) -> None:
        self.announcers.pop(name).withdraw()

    async def found(self) -> list[int]:
        param = search_param("words", np.zeros((1, 4), np.float32), 100).SerializeToString()
        reply = await self.network.channel("router:1").call("Search", param, deadline=Deadline.after(20))
        answer = pb.TopKQueryResult.FromString(reply)
        assert answer.status.error_code == 0, answer.status.reason
        return sorted(number for number in answer.ids if number != -1)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[InFolder]:
    (tmp_path / "nodes").mkdir()
    made = InFolder(tmp_path / "nodes")
    made.world.create("words")
    for number in range(6):
        made.world.add("words", [number], CHANCE.standard_normal((1, 4)).astype(np.float32))
    made.start("a", "a:1")
    made.start("b", "b:1")
    options = replace(QUICK, discovery=replace(QUICK.discovery, grace_ms=100))
    router = Router(
        options,
        Edges(
            made.network,
            made.world.read,
            discovery_for(f"file://{made.folder}"),
            lambda: None,
            made.world.record_replicas,
            made.world.record_drain,
        ),
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(router.stop)
        stack.callback(lambda: [announcer.withdraw() for announcer in made.announcers.values()])
        await router.start()
        await eventually_async(lambda: len(router.fleet.membership.searchers) == 2, 20)
        await eventually_async(lambda: not router.readiness.problems(), 20)
        yield made


EVERYTHING = list(range(6))


async def test_a_node_that_leaves_the_folder_or_dies_in_it_costs_no_row(nodes: InFolder) -> None:
    assert await nodes.found() == EVERYTHING
    nodes.network.kill("a:1")
    assert await nodes.found() == EVERYTHING
    nodes.leave("a")
    for _ in range(20):
        assert await nodes.found() == EVERYTHING


async def test_a_node_that_comes_back_at_another_address_is_searched_there(nodes: InFolder) -> None:
    nodes.leave("b")
    nodes.network.kill("b:1")
    nodes.start("b", "b:2")

    async def reached() -> bool:
        assert await nodes.found() == EVERYTHING
        return any(address == "b:2" for address, _ in nodes.network.calls("SearchInFiles"))

    while not await reached():
        pass


async def test_a_folder_that_is_lost_changes_no_answer(nodes: InFolder, tmp_path: Path) -> None:
    nodes.folder.rename(tmp_path / "gone")
    for _ in range(20):
        assert await nodes.found() == EVERYTHING
    (tmp_path / "gone").rename(nodes.folder)
    assert await nodes.found() == EVERYTHING
