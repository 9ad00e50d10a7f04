"""Faults of our own processes: killed, stopped, slow, restarted, with a clock that jumps; and of the writer's work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

import grpc
from faults.fault_row import ALL_WORK, Expected, May, Row, Works
from faults.fault_stage import BACK_S, NAME, Stage

from harness.faults.clock import JumpingClock
from harness.faults.cpu_quota import CpuQuota
from harness.milvus1.client import NodeClient
from harness.servers import Server
from harness.traffic import DELETE, INSERT, SEARCH, STRONG, Call, timed
from mishards.wire.protos import milvus_pb2 as pb

_START_S = 100
_HOUR_S = 3600


@contextlib.contextmanager
def node_killed(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of a read-only node."""
    node = stage.cluster.readers[0]
    node.kill()
    try:
        yield
    finally:
        node.launch(_START_S)


@contextlib.contextmanager
def node_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGSTOP of a read-only node for longer than its session with ZooKeeper."""
    node = stage.cluster.readers[0]
    node.pause()
    try:
        yield
    finally:
        node.resume()


@contextlib.contextmanager
def node_slow(stage: Stage, seconds: float) -> Iterator[None]:
    """A read-only node gets 5 % of a core."""
    with CpuQuota(stage.cluster.readers[0].pid, share=0.05) as quota:
        yield
        assert quota.throttled, "the node did not want more than it got"
        quota.heal()


@contextlib.contextmanager
def router_killed(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of one of two routers behind the balancer."""
    router = stage.cluster.routers[0]
    router.kill()
    try:
        yield
    finally:
        router.launch(_START_S)


@contextlib.contextmanager
def writer_killed_in_flushes(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of the writer at a random moment of a flush, again and again, a kill for every three seconds."""
    for _ in range(max(2, round(seconds / 3))):
        leader = stage.cluster.leader()
        flushing = threading.Thread(target=_flush, args=(leader,), name="flush")
        flushing.start()
        stage.pause(stage.random.random() * 0.05)
        leader.kill()
        flushing.join(BACK_S)
        leader.launch(_START_S)
    yield


def _flush(leader: Server) -> None:
    with NodeClient(leader.address) as client, contextlib.suppress(grpc.RpcError):  # it is killed meanwhile
        client.flush(NAME)


@contextlib.contextmanager
def segments_replaced(stage: Stage, seconds: float) -> Iterator[None]:
    """Segments are compacted, and partitions dropped, under the searches."""
    stopping = threading.Event()
    failures: list[str] = []
    thread = threading.Thread(target=_replace, args=(stage, stopping, failures), name="replace")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(BACK_S)
    assert not failures, failures[:3]


def _replace(stage: Stage, stopping: threading.Event, failures: list[str]) -> None:
    with stage.client() as client:
        while not stopping.wait(0.05):
            failures += [
                f"{step.kind}: {step.detail}" for step in _partition_come_and_gone(stage, client) if step.detail
            ]


def _partition_come_and_gone(stage: Stage, client: NodeClient) -> Iterator[Call]:
    partition = pb.PartitionParam(collection_name=NAME, tag=f"part-{stage.random.randrange(1 << 30)}")
    ids = stage.traffic.new_ids(100)
    yield timed("create", partial(client.call, "CreatePartition", partition))
    yield stage.traffic.insert_ids(client, ids, partition.tag)
    yield timed("flush", partial(client.flush, NAME))
    yield stage.traffic.delete(client, list(ids[:50]))
    yield timed("flush", partial(client.flush, NAME))
    yield timed("compact", partial(client.on, "Compact", NAME))
    stage.truth.deleting(ids[50:])
    yield timed("drop", partial(client.call, "DropPartition", partition))
    stage.truth.deleted(ids[50:])


@contextlib.contextmanager
def rolling_restart(stage: Stage, seconds: float) -> Iterator[None]:
    """Every program of ours is told to stop and started again, one at a time, the leader last of the nodes."""
    cluster = stage.cluster
    leader = cluster.leader()
    programs: list[Server] = [*cluster.readers, stage.standby(), leader, *cluster.routers]
    if seconds < 20:
        programs = [cluster.readers[0], leader, cluster.routers[1]]
    for program in programs:
        _restarted(program)
        stage.wait_well()
    yield


def _restarted(program: Server) -> None:
    assert program.terminate(30) == 0, f"{program.name} ended with {program.exit_code}"
    program.launch(_START_S)


@contextlib.contextmanager
def clock_jumps(stage: Stage, seconds: float) -> Iterator[None]:
    """The clock of a read-only node jumps an hour ahead, then an hour back."""
    assert stage.clock is not None
    try:
        stage.clock.jump(_HOUR_S)
        stage.pause(seconds / 2)
        stage.clock.jump(-_HOUR_S)
        yield
    finally:
        stage.clock.heal()


_READS_REPEATED: Expected = {SEARCH: Works(), STRONG: Works(), INSERT: Works(0.5), DELETE: Works(0.5)}
_WRITER_GONE: Expected = {SEARCH: Works(), STRONG: Works(0.5), INSERT: May(), DELETE: May()}

_MAY_WRITE: Expected = {SEARCH: Works(0.999), STRONG: Works(0.999), INSERT: May(), DELETE: May()}

ROWS = [
    Row(1, "a node is killed", node_killed, 1, 20, ALL_WORK),
    Row(2, "a node is stopped past its session", node_stopped, 6, 30, ALL_WORK),
    Row(3, "a node gets 5 % of a core", node_slow, 3, 20, ALL_WORK, CpuQuota.missing),
    Row(4, "a router is killed", router_killed, 1, 20, _READS_REPEATED),
    Row(19, "the writer is killed in flushes", writer_killed_in_flushes, 6, 300, _WRITER_GONE),
    Row(20, "segments are replaced under searches", segments_replaced, 3, 40, ALL_WORK),
    Row(21, "rolling restart", rolling_restart, 1, 60, _MAY_WRITE),
    Row(22, "a node's clock jumps an hour", clock_jumps, 2, 20, ALL_WORK, JumpingClock.missing),
]
