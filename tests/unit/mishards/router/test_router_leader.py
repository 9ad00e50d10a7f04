"""Writes follow the leader: several writable nodes behind a whole router."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from mishards.command.forward import WriteOptions
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import NodeUnavailable, NotLeader
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster
from mishards.testing.node import LiteralNode
from mishards.testing.waiting import eventually_async
from mishards.testing.world import World
from mishards.transport.api import Call
from mishards.wire.extensions import CAPABILITIES_COMMAND, ELECTION, LEADER_COMMAND
from mishards.wire.protos import milvus_pb2 as pb

PATIENT = replace(QUICK, write=replace(QUICK.write, wait_ms=20_000))
INSERT = pb.InsertParam(collection_name="words", row_record_array=[pb.RowRecord(float_data=[1, 2, 3, 4])])


class Candidate:
    """A writable node that leads when it is told to."""

    def __init__(self, world: World) -> None:
        self.epoch = 0
        self.hangs = False
        """Does an insert never end?"""
        self._commands = {CAPABILITIES_COMMAND: json.dumps({"capabilities": [ELECTION]}), LEADER_COMMAND: ""}
        self._node = LiteralNode(world, self._commands)

    async def __call__(self, call: Call) -> bytes:
        """Answer a call."""
        if call.method == "Insert" and not self.epoch:
            raise NotLeader("this writable node stands by")
        if call.method == "Insert" and self.hangs:
            await asyncio.Event().wait()
        said = {"leading": bool(self.epoch), "epoch": self.epoch, "leader": ""}
        self._node._commands[LEADER_COMMAND] = json.dumps(said)
        return await self._node(call)


def add(cluster: InProcessCluster, name: str) -> Candidate:
    made = Candidate(cluster.world)
    cluster.network.bind(cluster.address(name), made)
    cluster.backend.put(NodeRecord(name, NodeRole.WRITABLE, cluster.address(name)))
    return made


def inserted(cluster: InProcessCluster) -> list[str]:
    return [name for name, _ in cluster.received("Insert")]


async def insert(cluster: InProcessCluster) -> None:
    reply = await cluster.call("Insert", INSERT, timeout_s=30)
    assert isinstance(reply, pb.VectorIds)
    assert reply.status.error_code == 0


async def test_writes_go_to_the_node_that_leads_whatever_its_name() -> None:
    async with running_cluster(readers=1, writer=False, options=PATIENT) as cluster:
        add(cluster, "w1")
        second = add(cluster, "w2")
        second.epoch = 1
        await insert(cluster)
        await eventually_async(lambda: cluster.router.fleet.writer and cluster.router.fleet.writer.name == "w2")
        await insert(cluster)
        assert inserted(cluster)[-1] == "w2"
        await eventually_async(lambda: not cluster.router.readiness.warnings())


async def test_a_write_is_held_while_nobody_leads_and_made_once() -> None:
    async with running_cluster(readers=1, writer=False, options=PATIENT) as cluster:
        first, second = add(cluster, "w1"), add(cluster, "w2")
        await eventually_async(lambda: cluster.router.fleet.writers() and cluster.router.fleet.writer is None)
        await eventually_async(
            lambda: cluster.router.readiness.warnings() == ["no writable node leads; w1, w2 stand by"]
        )
        cluster.forget_calls()
        writing = asyncio.ensure_future(insert(cluster))
        forwarder = cluster.router.forwarder
        await eventually_async(lambda: forwarder.held_bytes)
        second.epoch = 3
        await writing
        assert first.epoch == 0
        assert inserted(cluster) == ["w2"]
        assert forwarder.held_bytes == 0


async def test_a_write_that_is_held_for_too_long_fails_clearly() -> None:
    async with running_cluster(readers=1, writer=False) as cluster:
        add(cluster, "w1")
        with pytest.raises(NodeUnavailable, match=r"Insert was not done, waited 300 ms: .*(stands by|leads)"):
            await cluster.call("Insert", INSERT)


async def test_what_does_not_fit_among_held_writes_is_refused() -> None:
    options = replace(PATIENT, write=replace(PATIENT.write, max_held_bytes=10))
    async with running_cluster(readers=1, writer=False, options=options) as cluster:
        node = add(cluster, "w1")
        await eventually_async(lambda: cluster.router.fleet.writers() and cluster.router.fleet.writer is None)
        writing = asyncio.ensure_future(insert(cluster))
        forwarder = cluster.router.forwarder
        await eventually_async(lambda: forwarder.held_bytes)
        with pytest.raises(Exception, match="bytes wait for a writable node already"):
            await cluster.call("Insert", INSERT)
        node.epoch = 1
        await writing


async def test_of_two_that_think_they_lead_the_later_one_is_asked() -> None:
    async with running_cluster(readers=1, writer=False, options=PATIENT) as cluster:
        stale, leader = add(cluster, "w1"), add(cluster, "w2")
        stale.epoch, leader.epoch = 4, 5
        await eventually_async(lambda: cluster.router.fleet.writer and cluster.router.fleet.writer.name == "w2")
        await insert(cluster)
        assert inserted(cluster)[-1] == "w2"


async def test_a_leader_that_dies_is_followed_by_its_successor() -> None:
    async with running_cluster(readers=1, writer=False, options=PATIENT) as cluster:
        first, second = add(cluster, "w1"), add(cluster, "w2")
        first.epoch = 1
        await eventually_async(lambda: cluster.router.fleet.writer and cluster.router.fleet.writer.claim)
        await insert(cluster)
        cluster.network.kill("w1:1")
        writing = asyncio.ensure_future(insert(cluster))
        await eventually_async(lambda: cluster.router.fleet.writer is None)
        second.epoch = 2
        await writing
        assert inserted(cluster)[-1] == "w2"


async def test_a_call_to_a_leader_that_fell_silent_ends_once_another_leads() -> None:
    async with running_cluster(
        readers=1, writer=False, options=replace(PATIENT, write=WriteOptions(20_000))
    ) as cluster:
        first, second = add(cluster, "w1"), add(cluster, "w2")
        first.epoch, first.hangs = 1, True
        writing = asyncio.ensure_future(cluster.call("Insert", INSERT, timeout_s=60))
        await eventually_async(lambda: inserted(cluster))
        cluster.network.freeze("w1:1")
        second.epoch = 2
        with pytest.raises(Exception, match="it fell silent and was succeeded; Insert may be done"):
            await writing
        assert inserted(cluster) == ["w1"]
