"""Our own nodes and several routers in this process, on one folder; only the network and discovery are in memory.

Nothing happens by itself: the writable node flushes when it is told, the routers read the catalog when a search asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.node_rpc import quieten, records
from milvus_node.assembly import Node
from milvus_node.config import NodeOptions, StorageOptions
from milvus_node.roles import Role
from mishards.assembly import Edges, Router
from mishards.catalog.drains import DrainWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.reader import CatalogReader
from mishards.catalog.replicas import ReplicaWriter
from mishards.catalog.snapshot import Snapshot
from mishards.config import DiscoveryOptions, MetadataOptions, NetworkOptions, RouterOptions
from mishards.deadline import Deadline
from mishards.discovery.api import Discovery, NodeRecord, NodeRole
from mishards.errors import CatalogUnavailable
from mishards.query.options import SearchOptions
from mishards.testing.memory_discovery import MemoryBackend
from mishards.testing.network import MemoryNetwork
from mishards.testing.waiting import eventually_async
from mishards.transport.api import Call
from mishards.wire.extensions import GROWING, GROWING_KEY
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS

PATIENT = RouterOptions(
    metadata=MetadataOptions("memory", refresh_ms=600_000),
    discovery=DiscoveryOptions("memory", grace_ms=60_000),
    network=NetworkOptions("", http_address="", drain_ms=100),
    search=SearchOptions(deadline_ms=60_000, metadata_wait_ms=20_000, node_wait_ms=20_000, graceful_time_ms=600_000),
)
"""Settings under which a router reads the catalog only when a search needs it, and waits long for everything."""


class Database:
    """Reads the catalog for one router, unless it is told to be away."""

    def __init__(self, uri: str) -> None:
        self._reader = CatalogReader(open_engine(uri))
        self._numbers = ReplicaWriter(open_engine(uri))
        self._drains = DrainWriter(open_engine(uri))
        self.away = False
        self.reads = 0

    def read(self, previous: Snapshot | None) -> Snapshot:
        """What the snapshot cache calls."""
        self.reads += 1
        if self.away:
            raise CatalogUnavailable("the database was told to be away")
        return self._reader.read(previous)

    def close(self) -> None:
        """Give the connections back."""
        self._reader.close()
        self._numbers.close()
        self._drains.close()

    def edges(self, network: MemoryNetwork, discovery: Discovery) -> Edges:
        """Of a router that reads and writes here."""
        return Edges(network, self.read, discovery, self.close, self._numbers.set, self._drains.set)


@dataclass
class Door:
    """A router as a client sees it."""

    name: str
    network: MemoryNetwork
    router: Router
    database: Database

    async def call(self, method: str, **fields: Any) -> Any:
        """Call a method with the fields of its request; whatever the reply's status."""
        request = METHODS[method].request(**fields).SerializeToString()
        channel = self.network.channel(f"{self.name}:1")
        return METHODS[method].reply.FromString(await channel.call(method, request, deadline=Deadline.after(60)))

    async def ok(self, method: str, **fields: Any) -> Any:
        """Call a method; the reply is a success."""
        reply = await self.call(method, **fields)
        found = getattr(reply, "status", reply)
        assert (found.error_code, found.reason) == (0, "OK"), (method, found)
        return reply

    async def create(self, name: str = "words", *, dimension: int = 4, metric: int = 1) -> None:
        """Make a collection."""
        await self.ok(
            "CreateCollection", collection_name=name, dimension=dimension, index_file_size=64, metric_type=metric
        )

    async def insert(self, vectors: Any, ids: Sequence[int], tag: str = "", name: str = "words") -> None:
        """Insert rows; they are acknowledged, and in no segment."""
        rows = records(vectors)
        await self.ok("Insert", collection_name=name, row_record_array=rows, row_id_array=ids, partition_tag=tag)

    async def delete(self, ids: Sequence[int], tag: str = "", name: str = "words") -> None:
        """Delete rows; acknowledged, and not flushed."""
        await self.ok("DeleteByID", collection_name=name, id_array=ids, partition_tag=tag)

    async def flush(self, name: str = "words") -> None:
        """Flush a collection."""
        await self.ok("Flush", collection_name_array=[name])

    async def search(
        self, vectors: Any, topk: int = 10, *, tags: Sequence[str] = (), params: str = "{}", name: str = "words"
    ) -> list[list[int]]:
        """The ids that are found for each query, nearest first."""
        reply = await self.ok(
            "Search",
            collection_name=name,
            partition_tag_array=tags,
            query_record_array=records(vectors),
            topk=topk,
            extra_params=[pb.KeyValuePair(key="params", value=params)],
        )
        if not reply.row_num:
            return [[] for _ in vectors]
        rows = np.asarray(reply.ids, np.int64).reshape(reply.row_num, -1).tolist()
        return [[number for number in row if number != -1] for row in rows]


@dataclass
class RealCluster:
    """The parts, for tests to take hold of."""

    folder: Path
    network: MemoryNetwork
    backend: MemoryBackend
    nodes: dict[str, Node] = field(default_factory=dict)
    doors: list[Door] = field(default_factory=list)

    def start_node(self, name: str, role: Role) -> Node:
        """Start a node and have discovery report it."""
        storage = StorageOptions(path=self.folder, auto_flush_interval_s=0, file_cleanup_timeout_s=3600)
        node = self.nodes[name] = Node(NodeOptions(storage=storage, role=role))
        self.network.link(f"{name}:1").handler = node.open()
        if role is Role.WRITABLE:
            quieten(node)
        self.backend.put(NodeRecord(name, NodeRole(role.value), f"{name}:1"))
        return node

    @property
    def database(self) -> Path:
        """The file of the catalog."""
        return Path(self.nodes["writer"]._options.metadata_uri.removeprefix("sqlite:///"))

    def segments(self, name: str = "words") -> list[str]:
        """The segments that the writable node's catalog has now."""
        collection = self.nodes["writer"]._catalog.refreshed().collection(name)
        return [segment.segment_id for segment in collection.segments]

    def received(self, method: str, name: str = "writer") -> list[Call]:
        """The calls of a method that a node has had."""
        return [call for call in self.network.link(f"{name}:1").calls if call.method == method]

    def asked_for_growing(self) -> int:
        """How often the writable node was asked for growing rows."""
        return sum(GROWING_KEY in dict(call.metadata) for call in self.received("Search"))


@asynccontextmanager
async def real_cluster(
    folder: Path, *, routers: int = 2, readers: int = 2, options: RouterOptions = PATIENT
) -> AsyncIterator[RealCluster]:
    """A writable node, readers, and routers that know what the nodes can do."""
    cluster = RealCluster(folder, MemoryNetwork(), MemoryBackend())
    async with AsyncExitStack() as stack:
        writer = cluster.start_node("writer", Role.WRITABLE)
        stack.callback(lambda: cluster.nodes["writer"].close())
        for number in range(readers):
            stack.callback(cluster.start_node(f"reader-{number}", Role.READONLY).close)
        for number in range(routers):
            name = f"router-{number}"
            database = Database(writer._options.metadata_uri)
            network = replace(options.network, address=f"{name}:1")
            edges = database.edges(cluster.network, cluster.backend.discovery())
            router = Router(replace(options, network=network), edges)
            cluster.doors.append(Door(name, cluster.network, router, database))
            await router.start()
            stack.push_async_callback(router.stop)
        for door in cluster.doors:
            await eventually_async(partial(_knows, door.router))
        yield cluster


def _knows(router: Router) -> bool:
    writer = router.fleet.writer
    return not router.readiness.problems() and writer is not None and GROWING in writer.capabilities
