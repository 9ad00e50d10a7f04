from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from milvus_node.announce import Activity, AnnounceOptions, Participation
from milvus_node.assembly import Node
from milvus_node.config import NodeOptions, StorageOptions
from milvus_node.roles import Role
from milvus_node.server import record_of
from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.errors import DiscoveryError
from mishards.testing.discovery import Recorder
from mishards.testing.memory_discovery import MemoryAnnouncer, MemoryBackend
from mishards.testing.waiting import eventually_async

JOINER = NodeRecord("n", NodeRole.READONLY, "h:1", state=NodeState.JOINING)
PATIENT = AnnounceOptions(join_quiet_s=3600)


class Cluster:
    """Discovery, one node's part in it, and what was reported of the node."""

    def __init__(self, options: AnnounceOptions, busy: Callable[[], bool], announcer: Any = None) -> None:
        self.backend, self.heard = MemoryBackend(), Recorder()
        self.backend.discovery().open(self.heard)
        self.activity = Activity(busy)
        self.part = Participation(announcer or self.backend.announcer(), options, self.activity)
        self.stopping = asyncio.Event()

    @property
    def states(self) -> list[NodeState]:
        return [node.state for nodes in self.heard.sets for node in nodes]


@asynccontextmanager
async def taking_part(
    options: AnnounceOptions = PATIENT,
    record: NodeRecord = JOINER,
    busy: Callable[[], bool] = lambda: False,
    announcer: Any = None,
) -> Any:
    cluster = Cluster(options, busy, announcer)
    await cluster.part.join(record)
    task = asyncio.get_running_loop().create_task(cluster.part.take_part(cluster.stopping))
    yield cluster
    cluster.stopping.set()
    await asyncio.wait_for(task, 30)
    await cluster.part.leave()


async def test_a_node_joins_is_ready_when_a_router_says_so_drains_and_is_gone() -> None:
    async with taking_part() as cluster:
        assert cluster.part.is_joining
        cluster.activity.warmed.set()
        await eventually_async(lambda: not cluster.part.is_joining)
    assert cluster.states == [NodeState.JOINING, NodeState.READY, NodeState.DRAINING]
    assert cluster.heard.last == frozenset()


async def test_a_node_for_which_no_router_does_anything_does_not_wait() -> None:
    async with taking_part(AnnounceOptions(join_quiet_s=0.1)) as cluster:
        await eventually_async(lambda: not cluster.part.is_joining)
        assert cluster.states == [NodeState.JOINING, NodeState.READY]


async def test_a_node_on_which_something_is_loaded_waits_but_not_for_ever() -> None:
    asked, is_busy = [], True

    def busy() -> bool:
        asked.append(is_busy)
        return is_busy

    async with taking_part(AnnounceOptions(join_quiet_s=0.05), busy=busy) as cluster:
        await eventually_async(lambda: len(asked) > 5)  # looks, each later than it would wait when nothing happens
        assert cluster.part.is_joining
        is_busy = False
        await eventually_async(lambda: not cluster.part.is_joining)
    async with taking_part(AnnounceOptions(join_quiet_s=3600, join_timeout_s=0.1), busy=lambda: True) as cluster:
        await eventually_async(lambda: not cluster.part.is_joining)


async def test_a_node_that_is_told_to_stop_while_it_joins_is_never_ready() -> None:
    async with taking_part() as cluster:
        pass
    assert NodeState.READY not in cluster.states


async def test_a_node_that_is_ready_from_the_start_says_only_that_it_drains() -> None:
    async with taking_part(record=replace(JOINER, state=NodeState.READY)) as cluster:
        assert not cluster.part.is_joining
    assert cluster.states == [NodeState.READY, NodeState.DRAINING]


class Moody(MemoryAnnouncer):
    """Cannot announce while it is away."""

    away = False
    refused = 0

    def announce(self, node: NodeRecord) -> None:
        if self.away:
            self.refused += 1
            raise DiscoveryError("the backend is away")
        super().announce(node)


async def test_a_node_whose_backend_is_away_tries_on_and_stops_all_the_same() -> None:
    announcer = Moody(MemoryBackend())
    async with taking_part(announcer=announcer) as cluster:
        announcer.away = True
        cluster.activity.warmed.set()
        await eventually_async(lambda: announcer.refused)
        announcer.away = False
        await eventually_async(lambda: not cluster.part.is_joining)
        announcer.away = True
    assert announcer.refused >= 2


async def test_a_node_that_announces_itself_nowhere_is_ready() -> None:
    part, stopping = Participation(None, PATIENT, Activity(lambda: False)), asyncio.Event()
    await part.join(JOINER)
    assert not part.is_joining
    stopping.set()
    await part.take_part(stopping)
    await part.leave()


def test_calls_about_the_node_itself_are_no_activity() -> None:
    activity = Activity(lambda: False)
    before = activity.idle_s()
    activity.ended(SimpleNamespace(call=SimpleNamespace(method="Cmd")))  # type: ignore[arg-type]  # all that is read
    assert activity.idle_s() >= before
    activity._last -= 100
    activity.ended(SimpleNamespace(call=SimpleNamespace(method="Search")))  # type: ignore[arg-type]  # all that is read
    assert activity.idle_s() < 100
    assert Activity(lambda: True).idle_s() == 0


@pytest.mark.parametrize(
    ("given", "bound", "announced"),
    [
        ("", "10.0.0.1:5", "10.0.0.1:5"),
        ("node.example:7", "0.0.0.0:5", "node.example:7"),
        ("", "0.0.0.0:5", f"{socket.gethostname()}:5"),
        ("", "[::]:5", f"{socket.gethostname()}:5"),
    ],
)
def test_the_announced_address_can_be_called(given: str, bound: str, announced: str) -> None:
    assert AnnounceOptions(given).reachable(bound) == announced


def test_a_node_announces_what_its_settings_say() -> None:
    options = NodeOptions(role=Role.READONLY, announce=AnnounceOptions(weight=2.5, zone="z"))
    record = record_of(options, "10.0.0.1:5")
    assert (record.name, record.role, record.weight, record.zone) == ("10.0.0.1:5", NodeRole.READONLY, 2.5, "z")
    assert record.state is NodeState.JOINING
    assert record_of(replace(options, role=Role.WRITABLE), "h:1").state is NodeState.READY


def test_a_node_stands_for_election_under_the_address_that_it_announces(tmp_path: Path) -> None:
    options = NodeOptions(
        name="w",
        address="0.0.0.0:19530",
        announce=AnnounceOptions("w:19530"),
        storage=StorageOptions(path=tmp_path),
    )
    node = Node(options)
    try:
        node.open()
        assert node._candidacy is not None
        assert node._candidacy.leader == "w at w:19530"
    finally:
        node.close()
