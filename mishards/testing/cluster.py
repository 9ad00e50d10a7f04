"""A whole router in this process, before nodes that are told what to do wrong.

The router is the real one, from its dispatch to its channels; only calls, the catalog and discovery are in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import Message

from mishards.assembly import Edges, Router
from mishards.cluster.health import HealthOptions
from mishards.command.forward import WriteOptions
from mishards.config import DiscoveryOptions, MetadataOptions, NetworkOptions, RouterOptions
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.query.options import RoutingOptions, SearchOptions
from mishards.testing.memory_discovery import MemoryBackend
from mishards.testing.network import MemoryNetwork
from mishards.testing.node import LiteralNode
from mishards.testing.waiting import eventually_async
from mishards.testing.world import Vectors, World
from mishards.transport.api import Call, Metadata
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS

if TYPE_CHECKING:
    from mishards.tracing.handler import CallTracer  # imports opentracing

QUICK = RouterOptions(
    network=NetworkOptions("router:1", http_address="", drain_ms=100),
    metadata=MetadataOptions("memory", refresh_ms=20),
    discovery=DiscoveryOptions("memory", grace_ms=60_000),
    search=SearchOptions(deadline_ms=5_000, node_wait_ms=500, metadata_wait_ms=200),
    write=WriteOptions(wait_ms=300, stall_ms=200, probe_pause_ms=20),
    health=HealthOptions(
        probe_interval_ms=50, probe_timeout_ms=50, retry_min_ms=10, retry_max_ms=50, patience_ms=30, slow_start_ms=0
    ),
)
"""Settings under which nothing takes long."""


@dataclass
class InProcessCluster:
    """The parts, for tests to take hold of."""

    world: World
    network: MemoryNetwork
    backend: MemoryBackend
    router: Router
    options: RouterOptions
    nodes: dict[str, LiteralNode] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """Where a node listens."""
        return f"{name}:1"

    def add_node(self, name: str, role: NodeRole = NodeRole.READONLY) -> LiteralNode:
        """Start a node and have discovery report it."""
        node = self.nodes[name] = LiteralNode(self.world)
        self.network.bind(self.address(name), node)
        self.backend.put(NodeRecord(name, role, self.address(name)))
        return node

    async def call(
        self, method: str, request: Message | bytes, timeout_s: float = 10, metadata: Metadata = ()
    ) -> Message:
        """Call the router as a client does, and decode the reply. Raises what the transport would."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        channel = self.network.channel("router:1")
        reply = await channel.call(method, raw, deadline=Deadline.after(timeout_s), metadata=metadata)
        return METHODS[method].reply.FromString(reply)

    async def search(
        self, collection: str, queries: Vectors, topk: int, tags: Sequence[str] = (), params: str = "{}"
    ) -> pb.TopKQueryResult:
        """Search through the router."""
        reply = await self.call("Search", search_param(collection, queries, topk, tags, params))
        assert isinstance(reply, pb.TopKQueryResult)  # noqa: S101 - for the type checker
        return reply

    def received(self, method: str) -> list[tuple[str, Call]]:
        """Every call of a method that reached a node, with the node's name."""
        calls = self.network.calls(method)
        return [(address.removesuffix(":1"), call) for address, call in calls if address != "router:1"]

    def searched(self) -> dict[str, list[list[str]]]:
        """The file ids that each node was asked for, call by call."""
        found: dict[str, list[list[str]]] = {}
        for name, call in self.received("SearchInFiles"):
            ids = list(pb.SearchInFilesParam.FromString(call.request).file_id_array)
            found.setdefault(name, []).append(ids)
        return found

    def forget_calls(self) -> None:
        """Begin to count calls anew."""
        for name in self.nodes:
            self.network.link(self.address(name)).calls.clear()

    def health_reason(self, name: str) -> str:
        """Why the router thinks ill of a node; empty where it does not, or does not know it."""
        node = self.router.fleet.get(name)
        return "" if node is None else node.health.reason

    async def snapshot_newer(self) -> None:
        """Return once the router has read the catalog again."""
        reads = self.world.reads
        await eventually_async(lambda: self.world.reads >= reads + 2)


def search_param(
    collection: str, queries: Vectors, topk: int, tags: Sequence[str] = (), params: str = "{}"
) -> pb.SearchParam:
    """A request as clients build it."""
    return pb.SearchParam(
        collection_name=collection,
        partition_tag_array=tags,
        query_record_array=[pb.RowRecord(float_data=query) for query in np.asarray(queries).tolist()],
        topk=topk,
        extra_params=[pb.KeyValuePair(key="params", value=params)],
    )


def rows_of(reply: pb.TopKQueryResult) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and distances of each query, each row cut at its first id -1, as clients read it."""
    if not reply.row_num:
        return [], []
    width = len(reply.ids) // reply.row_num
    ids, distances = [], []
    for row in range(reply.row_num):
        found = list(reply.ids[row * width : (row + 1) * width])
        end = found.index(-1) if -1 in found else width
        ids.append(found[:end])
        distances.append(list(reply.distances[row * width : row * width + end]))
    return ids, distances


@asynccontextmanager
async def running_cluster(
    readers: int = 2,
    writer: bool = True,
    options: RouterOptions = QUICK,
    replicas: int = 1,
    tracer: CallTracer | None = None,
) -> AsyncIterator[InProcessCluster]:
    """A router that is ready, before ``reader-1`` … and ``writer``."""
    if replicas != 1:
        options = replace(options, routing=RoutingOptions(replicas=replicas))
    world, network, backend = World(), MemoryNetwork(), MemoryBackend()
    records = world.record_replicas, world.record_drain
    router = Router(options, Edges(network, world.read, backend.discovery(), lambda: None, *records, tracer))
    cluster = InProcessCluster(world, network, backend, router, options)
    for number in range(1, readers + 1):
        cluster.add_node(f"reader-{number}")
    if writer:
        cluster.add_node("writer", NodeRole.WRITABLE)
    await router.start()
    try:
        if readers or writer:
            await eventually_async(lambda: not router.readiness.problems())
        yield cluster
    finally:
        await router.stop()
