"""Faults between routers and a read-only node: packets that vanish, are rejected, lost or late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from faults.fault_row import ALL_WORK, Row
from faults.fault_stage import Stage

from harness.faults.partition import Direction, Partition
from harness.servers import Server


@contextlib.contextmanager
def node_cut_off(stage: Stage, seconds: float) -> Iterator[None]:
    """Packets to and from a node vanish, without a RST."""
    with Partition(_port(stage.cluster.readers[0])) as partition:
        partition.drop()
        yield
        _took_effect(partition)


@contextlib.contextmanager
def node_cut_off_one_way(stage: Stage, seconds: float) -> Iterator[None]:
    """A node's answers vanish for half of the time; then connections to it are rejected."""
    with Partition(_port(stage.cluster.readers[0])) as partition:
        partition.drop(Direction.TO_CLIENT)
        stage.pause(seconds / 2)
        _took_effect(partition)
        partition.reject()
        yield
        _took_effect(partition)


@contextlib.contextmanager
def node_on_a_bad_line(stage: Stage, seconds: float) -> Iterator[None]:
    """30 % of the packets are lost, the rest takes 50 ms longer, at 8 Mbit/s."""
    stage.proxy.delay(0.05)
    stage.proxy.throttle(1e6)
    try:
        with Partition(_port(stage.cluster.readers[2])) as partition:
            partition.lose(0.3)
            yield
            _took_effect(partition)
    finally:
        stage.proxy.heal()


def _took_effect(partition: Partition) -> None:
    assert partition.stopped, "no packet was stopped"


def _port(node: Server) -> int:
    return int(node.address.rpartition(":")[2])


ROWS = [
    Row(13, "a node is cut off", node_cut_off, 3, 20, ALL_WORK, Partition.missing),
    Row(14, "a node is cut off one way, then rejected", node_cut_off_one_way, 4, 20, ALL_WORK, Partition.missing),
    Row(15, "a node is on a bad line", node_on_a_bad_line, 4, 20, ALL_WORK, Partition.missing),
]
