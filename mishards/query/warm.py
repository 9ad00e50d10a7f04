"""Preload, Release and ReloadSegments: told to the nodes that hold the segments, not to the writable one.

A preload may carry a replica number, as metadata ``REPLICAS_KEY``.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from mishards.catalog.snapshot import Segment
from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node, passed_on
from mishards.errors import MalformedRequest, NodeRejected, NoSearchNode, RpcStatus
from mishards.query.loading import loading_search
from mishards.query.replicas import Replicas, replica_number
from mishards.query.route import Route, Routes
from mishards.query.snapshots import Snapshots
from mishards.tracing import spans
from mishards.transport.api import Call
from mishards.wire.extensions import REPLICAS_KEY
from mishards.wire.names import check_collection_name
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status, status_of
from mishards.wire.search import search_in_files


class Warmer:
    """Loads and unloads on the nodes."""

    def __init__(self, fleet: Fleet, snapshots: Snapshots, routes: Routes, replicas: Replicas) -> None:
        self._fleet = fleet
        self._replicas = replicas
        self._snapshots = snapshots
        self._routes = routes

    async def preload(self, call: Call) -> bytes:
        """PreloadCollection: every owner of a segment loads it, all nodes at once; the first failure is the reply.

        A replica number that comes with it is set first.
        """
        try:
            asked = pb.PreloadCollectionParam.FromString(call.request)
        except DecodeError as error:
            raise MalformedRequest(f"the request is no PreloadCollectionParam: {error}") from error
        check_collection_name(asked.collection_name)
        number = dict(call.metadata).get(REPLICAS_KEY)
        if number is not None:
            await self._replicas.set(asked.collection_name, replica_number(number), call.deadline)
        snapshot = await self._snapshots.fresh(call.deadline)
        collection = snapshot.collection(asked.collection_name)
        tags = tuple(asked.partition_tag_array)
        route = self._routes.route(snapshot, collection, tags, self._fleet.membership.owners())
        param = loading_search(collection)
        held = [(node, segments) for node, segments in self._held(route) if segments]
        if route.segments and not held:
            raise NoSearchNode("no node is there to load the collection")
        replies = await asyncio.gather(
            *(
                _asked(node, "SearchInFiles", search_in_files([segment.file.id for segment in segments], param), call)
                for node, segments in held
            )
        )
        for reply in replies:
            if status_of("SearchInFiles", reply)[0]:
                return pb.TopKQueryResult.FromString(reply).status.SerializeToString()
        return ok_status().SerializeToString()

    async def tell_all(self, call: Call) -> bytes:
        """ReleaseCollection and ReloadSegments: the call as it is to every node that may hold segments."""
        nodes = [self._fleet.get(record.name) for record in self._fleet.membership.searchers]
        present = [node for node in nodes if node is not None and node.usable]
        if not present:
            raise NoSearchNode(f"no node is there to be told {call.method}")
        failure = None
        for reply in await asyncio.gather(*(self._told(node, call) for node in present)):
            code, _ = status_of(call.method, reply)
            if code:
                failure = failure or reply
        return failure or ok_status().SerializeToString()

    async def _told(self, node: Node, call: Call) -> bytes:
        try:
            return await _asked(node, call.method, call.request, call)
        except NodeRejected as error:
            if error.status is RpcStatus.UNIMPLEMENTED:  # ReleaseCollection is younger than Milvus 1.0
                return ok_status().SerializeToString()
            raise

    def _held(self, route: Route) -> list[tuple[Node, Sequence[Segment]]]:
        held: dict[str, list[Segment]] = {}
        for group in route.groups:
            for owner in group.owners:
                held.setdefault(owner, []).extend(group.segments)
        nodes = ((self._fleet.get(name), segments) for name, segments in held.items())
        return [(node, segments) for node, segments in nodes if node is not None and node.usable]


async def _asked(node: Node, method: str, request: bytes, call: Call) -> bytes:
    with spans.within(f"ask_{node.name}", node=node.name, method=method):
        metadata = spans.injected(passed_on(call.metadata))
        return await node.call(method, request, deadline=call.deadline, metadata=metadata)
