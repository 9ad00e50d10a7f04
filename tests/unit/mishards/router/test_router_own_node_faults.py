"""Faults of our own nodes, put between them and the router: no search fails or loses a row by one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.node_rpc import floats
from harness.real_cluster import RealCluster, real_cluster
from mishards.errors import MishardsError, NodeFault, NodeOverloaded, NodeUnavailable
from mishards.testing.waiting import eventually_async
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


async def well(cluster: RealCluster) -> None:
    """Wait until the reader may be asked again, whatever it did before."""
    node = cluster.doors[0].router.fleet.get("reader-0")
    assert node is not None
    await eventually_async(lambda: node.usable, 30)


async def searched(cluster: RealCluster, left: list[Any], what: object) -> None:
    """Search until nothing is left of what the reader is to do wrong, and once more; every answer is whole."""
    for _ in range(20):
        assert await cluster.doors[0].search(floats(0)) == [ROWS], what
        if not left:
            break
    assert not left, f"the reader was not asked: {what}"
    assert await cluster.doors[0].search(floats(0)) == [ROWS], what


async def test_a_status_that_is_the_routes_or_the_nodes_fault_costs_no_row(cluster: RealCluster) -> None:
    link = cluster.network.link("reader-0:1")
    asked = link.handler
    assert asked is not None
    for code, reason in STATUSES:
        status = status_pb2.Status(error_code=code, reason=reason)  # type: ignore[arg-type]  # the number of an ErrorCode
        errors = [pb.TopKQueryResult(status=status).SerializeToString()]

        async def faulty(call: Any, errors: list[bytes] = errors) -> bytes:
            return errors.pop() if call.method == "SearchInFiles" and errors else await asked(call)

        await well(cluster)
        link.handler = faulty
        await searched(cluster, errors, reason)


async def test_a_call_that_fails_goes_on_at_another_node(cluster: RealCluster) -> None:
    for fault in (
        NodeUnavailable("reader-0:1", "it broke", sent=True),
        NodeUnavailable("reader-0:1", "refused", sent=False),
        NodeFault("reader-0:1", "INTERNAL"),
        NodeOverloaded("reader-0:1", "too many calls"),
    ):
        await well(cluster)
        faults: list[MishardsError | None] = [fault]
        cluster.network.link("reader-0:1").faults["SearchInFiles"] = faults
        await searched(cluster, faults, fault)
