"""A node that joins is warmed up before searches go there."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.errors import MishardsError
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster
from mishards.testing.node import LiteralNode
from mishards.testing.waiting import eventually_async
from mishards.transport.api import Call
from mishards.wire.extensions import JOINING, WARMED_COMMAND
from mishards.wire.protos import milvus_pb2 as pb

QUERIES = np.eye(2, 4, dtype=np.float32)
CALM = replace(
    QUICK,
    search=replace(QUICK.search, deadline_ms=60_000, metadata_wait_ms=30_000),
    health=replace(QUICK.health, probe_timeout_ms=30_000, patience_ms=60_000),
)
"""Settings under which no node is taken for dead, however busy the machine is."""


def joiner(name: str, state: NodeState = NodeState.JOINING, **fields: object) -> NodeRecord:
    record = NodeRecord(name, NodeRole.READONLY, f"{name}:1", state=state, capabilities=frozenset({JOINING}))
    return replace(record, **fields)  # type: ignore[arg-type]  # fields of a record


def fill(cluster: InProcessCluster, segments: int = 20) -> None:
    cluster.world.create("c")
    for number in range(segments):
        add(cluster, number)


def add(cluster: InProcessCluster, number: int) -> None:
    vectors = np.random.default_rng(number).random((5, 4), dtype=np.float32)
    cluster.world.add("c", np.arange(5) + 5 * number, vectors)


def begin(cluster: InProcessCluster, *records: NodeRecord) -> None:
    """Start nodes and have discovery report them as they are."""
    for record in records:
        cluster.nodes[record.name] = LiteralNode(cluster.world)
        cluster.network.bind(record.address, cluster.nodes[record.name])
        cluster.backend.put(record)


def told(cluster: InProcessCluster) -> list[str]:
    """Who was told that it is warm, in order."""
    calls = cluster.received("Cmd")
    return [name for name, call in calls if pb.Command.FromString(call.request).cmd == WARMED_COMMAND]


def loaded(cluster: InProcessCluster, name: str) -> set[str]:
    return {file for files in cluster.searched().get(name, []) for file in files}


async def asked(cluster: InProcessCluster, name: str) -> None:
    """Search until a node takes part."""
    end = time.monotonic() + 30
    while name not in cluster.searched():
        assert time.monotonic() < end, f"{name} is never asked"
        await cluster.search("c", QUERIES, 3)


async def test_what_a_joining_node_will_hold_is_loaded_there_before_it_gets_searches() -> None:
    async with running_cluster(readers=2, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        begin(cluster, joiner("new"))
        await eventually_async(lambda: told(cluster) == ["new"])
        warm = loaded(cluster, "new")
        assert warm
        cluster.forget_calls()
        for _ in range(3):
            await cluster.search("c", QUERIES, 3)
        assert "new" not in cluster.searched()
        cluster.backend.put(joiner("new", NodeState.READY))
        await asked(cluster, "new")
        assert loaded(cluster, "new") <= warm
        assert told(cluster) == []


async def test_what_is_flushed_meanwhile_is_loaded_too() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster, 30)
        await cluster.snapshot_newer()
        cluster.network.link("new:1").slow_s = 0.05
        begin(cluster, joiner("new"))
        await eventually_async(lambda: loaded(cluster, "new"))
        for number in range(30, 60):
            add(cluster, number)
        await eventually_async(lambda: told(cluster) == ["new"])
        warm = loaded(cluster, "new")
        await cluster.snapshot_newer()
        cluster.forget_calls()
        cluster.backend.put(joiner("new", NodeState.READY))
        await asked(cluster, "new")
        assert loaded(cluster, "new") <= warm


class Outpaced(LiteralNode):
    """Whatever it loads, as much again is flushed meanwhile."""

    flushed = 1000

    def __init__(self, cluster: InProcessCluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster

    async def __call__(self, call: Call) -> bytes:
        if call.method == "SearchInFiles":
            for _ in range(8):
                add(self._cluster, self.flushed)
                self.flushed += 1
        return await super().__call__(call)


async def test_a_node_is_warm_although_more_is_flushed_for_it_whenever_it_has_loaded_something() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        cluster.nodes["new"] = Outpaced(cluster)
        cluster.network.bind("new:1", cluster.nodes["new"])
        cluster.backend.put(joiner("new"))
        await eventually_async(lambda: told(cluster) == ["new"])
        assert loaded(cluster, "new")


async def test_nodes_that_join_together_are_warm_whoever_is_ready_first() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster, 40)
        await cluster.snapshot_newer()
        begin(cluster, joiner("a"), joiner("b"))
        await eventually_async(lambda: sorted(told(cluster)) == ["a", "b"])
        warm = {name: loaded(cluster, name) for name in "ab"}
        cluster.forget_calls()
        for name in "ab":
            cluster.backend.put(joiner(name, NodeState.READY))
            await asked(cluster, name)
        assert loaded(cluster, "a") <= warm["a"]
        assert loaded(cluster, "b") <= warm["b"]


def joining(cluster: InProcessCluster) -> tuple[NodeRecord, ...]:
    return cluster.router.fleet.membership.joining


async def test_a_node_that_joins_again_keeps_its_place_and_is_warmed_where_it_is_now() -> None:
    async with running_cluster(readers=2, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        await cluster.search("c", QUERIES, 3)
        held = loaded(cluster, "reader-1")
        cluster.network.bind("elsewhere:1", cluster.nodes["reader-1"])
        cluster.backend.put(joiner("reader-1", address="elsewhere:1"))
        await eventually_async(lambda: told(cluster) == ["elsewhere"])
        assert loaded(cluster, "elsewhere") == held
        before = len(cluster.searched()["elsewhere"])
        await cluster.search("c", QUERIES, 3)
        assert len(cluster.searched()["elsewhere"]) == before


async def test_a_node_that_joins_alone_is_ready_at_once() -> None:
    async with running_cluster(readers=0, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        begin(cluster, joiner("new"))
        await eventually_async(lambda: told(cluster) == ["new"])
        assert not loaded(cluster, "new")


async def test_only_readers_that_wait_for_it_are_warmed_up() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster)
        standby = joiner("standby", role=NodeRole.WRITABLE)
        begin(cluster, standby, joiner("old", capabilities=frozenset()), joiner("new"))
        await eventually_async(lambda: told(cluster) == ["new"])
        assert set(cluster.searched()) <= {"new"}


class Broken(LiteralNode):
    """Fails in each way once, then serves."""

    failures = 3

    async def __call__(self, call: Call) -> bytes:
        if call.method == "SearchInFiles" and self.failures:
            self.failures -= 1
            if self.failures == 2:
                return pb.TopKQueryResult(status=pb.Status(error_code=1, reason="no such file")).SerializeToString()
            raise MishardsError("not now") if self.failures else RuntimeError("a bug")
        return await super().__call__(call)


async def test_a_node_that_cannot_load_is_tried_again_and_a_bad_file_holds_nothing_up() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        node = Broken(cluster.world)
        cluster.network.bind("new:1", node)
        cluster.nodes["new"] = node
        cluster.backend.put(joiner("new"))
        await eventually_async(lambda: told(cluster) == ["new"])
        assert node.failures == 0


async def test_a_node_that_leaves_while_it_joins_is_let_go() -> None:
    async with running_cluster(readers=1, options=CALM) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        begin(cluster, joiner("new"))
        cluster.network.freeze("new:1")
        await eventually_async(lambda: joining(cluster))
        await asyncio.sleep(0)
        cluster.backend.remove("new")
        await eventually_async(lambda: not joining(cluster))
        await eventually_async(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "warm-new"])
