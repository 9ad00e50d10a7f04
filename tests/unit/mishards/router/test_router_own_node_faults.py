"""Faults of our own nodes, put between them and the router: no search fails or loses a row by one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.node_rpc import floats
from harness.real_cluster import RealCluster, real_cluster
from mishards.errors import MishardsError, NodeFault, NodeOverloaded, NodeUnavailable
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos import status_pb2

ROWS = list(range(1, 9))

STATUSES = (
    (1, "Invalid file id"),
    (1, "index is null"),
    (1, "Failed to load index file: DISK2CPU"),
    (1, "SegmentMissing: 7 of words"),
    (1, "Collection words not found"),
    (1, "segment 7: rows.bin is damaged"),
    (2, "Milvus server is shutdown!"),
    (4, "Collection words does not exist."),
    (14, "no such file"),
    (24, "out of memory"),
)
"""What a node says of a route that is older than what it sees, or of itself."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RealCluster]:
    """Two readers that hold segments of one collection, one row each."""
    async with real_cluster(tmp_path, routers=1) as made:
        (door,) = made.doors
        await door.create()
        for number in ROWS:
            await door.insert(floats(number), [number])
            await door.flush()
        assert await door.search(floats(0)) == [ROWS]
        yield made


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: status[1])
async def test_a_status_that_is_the_routes_or_the_nodes_fault_costs_no_row(
    cluster: RealCluster, status: tuple[int, str]
) -> None:
    code, reason = status
    error = pb.TopKQueryResult(status=status_pb2.Status(error_code=code, reason=reason)).SerializeToString()
    link = cluster.network.link("reader-0:1")
    asked = link.handler
    assert asked is not None
    said = []

    async def faulty(call: Any) -> bytes:
        if call.method == "SearchInFiles" and not said:
            said.append(reason)
            return error
        return await asked(call)

    link.handler = faulty
    assert await cluster.doors[0].search(floats(0)) == [ROWS]
    assert said == [reason]
    assert await cluster.doors[0].search(floats(0)) == [ROWS]


@pytest.mark.parametrize(
    "fault",
    [
        NodeUnavailable("reader-0:1", "it broke", sent=True),
        NodeUnavailable("reader-0:1", "refused", sent=False),
        NodeFault("reader-0:1", "INTERNAL"),
        NodeOverloaded("reader-0:1", "too many calls"),
    ],
    ids=lambda fault: f"{type(fault).__name__} {fault}",
)
async def test_a_call_that_fails_goes_on_at_another_node(cluster: RealCluster, fault: MishardsError) -> None:
    cluster.network.link("reader-0:1").faults["SearchInFiles"] = [fault]
    assert await cluster.doors[0].search(floats(0)) == [ROWS]
    assert await cluster.doors[0].search(floats(0)) == [ROWS]
