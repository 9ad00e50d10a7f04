"""The admin API's routes: what is asked, who may ask it, which part answers.

Belongs to the event loop; what takes long where the catalog is large is done on another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route

from mishards.admin.access import check_may_write
from mishards.admin.drains import Drains
from mishards.admin.memory import Memories
from mishards.admin.placement import Planner
from mishards.admin.topology import Sources, snapshot_view, topology
from mishards.admin.traffic import TrafficLog
from mishards.catalog.snapshot import Snapshot
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRole
from mishards.errors import CatalogUnavailable
from mishards.metrics.placement import Spread
from mishards.query.replicas import Replicas
from mishards.query.slow import SlowSearch, SlowSearches
from mishards.rest.application import Answer, routes_of
from mishards.rest.errors import BadHttpRequest, RestCode
from mishards.rest.exchange import Exchange
from mishards.rest.fields import illegal_query
from mishards.rest.replies import ok
from mishards.routing.api import Owner
from mishards.transport.api import Handler
from mishards.wire.protos import milvus_pb2 as pb

_MAX_BODY_BYTES = 64 << 10
_RECORD_S = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Whom to ask, and whom to tell."""

    sources: Sources
    planner: Planner
    traffic: TrafficLog
    slow: SlowSearches
    replicas: Replicas
    memories: Memories
    drains: Drains
    access_controlled: bool
    """Has the caller of a route been asked who it is, and may do what it asks for?"""


def admin_routes(parts: Parts, handler: Handler) -> list[Route]:
    """The routes below ``/api``; ``handler`` serves the RPC calls that they make."""
    admin = _Admin(parts)
    answers: tuple[tuple[str, str, Answer], ...] = (
        ("GET", "/api/topology", admin.topology),
        ("GET", "/api/placement", admin.placement),
        ("GET", "/api/placement/change", admin.change),
        ("GET", "/api/snapshot", admin.snapshot),
        ("GET", "/api/slow", admin.slow),
        ("GET", "/api/traffic", admin.traffic),
        ("POST", "/api/nodes/{node}/drain", admin.drain),
        ("POST", "/api/nodes/{node}/undrain", admin.undrain),
        ("POST", "/api/collections/{collection}/warm", admin.warm),
        ("PUT", "/api/collections/{collection}/replicas", admin.set_replicas),
    )
    return routes_of(answers, handler, _MAX_BODY_BYTES)


class _Admin:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._fleet = parts.sources.fleet

    async def topology(self, _exchange: Exchange) -> Response:
        memories = await self._parts.memories.now()
        return _answered(topology(self._parts.sources, await self._spread(), memories))

    async def snapshot(self, _exchange: Exchange) -> Response:
        return _answered(snapshot_view(self._parts.sources.cache, await self._spread()))

    async def placement(self, exchange: Exchange) -> Response:
        snapshot, owners = self._snapshot(), self._fleet.membership.owners()
        only = exchange.query.get("collection", "")
        return _answered(await asyncio.to_thread(self._parts.planner.view, snapshot, owners, only))

    async def change(self, exchange: Exchange) -> Response:
        """What would move if node ``leaves``, or if a node of the name ``joins`` with ``weight``."""
        before = self._fleet.membership.owners()
        after = self._after(exchange, before)
        return _answered(await asyncio.to_thread(self._parts.planner.change, self._snapshot(), before, after))

    async def slow(self, _exchange: Exchange) -> Response:
        now = time.time()
        return _answered({"now": now, "searches": [_described(search) for search in self._parts.slow.slowest(now)]})

    async def traffic(self, _exchange: Exchange) -> Response:
        return _answered(self._parts.traffic.seen(time.time()))

    async def drain(self, exchange: Exchange) -> Response:
        """Have every router send nothing to a read-only node, until it is taken back."""
        self._check_may_write(exchange)
        node = self._known(exchange.path["node"])
        if node.record.role is NodeRole.WRITABLE:
            raise _conflict(f"{node.name} is writable; only read-only nodes can be drained, writes have nowhere to go")
        others = [record for record in self._fleet.membership.searchers if record.name != node.name]
        if not others and self._fleet.writer is None:
            raise _conflict(f"{node.name} is the last node that can search; start another one before")
        await self._parts.drains.set(node.name, Deadline.after(_RECORD_S), drained=True)
        return _answered({"node": node.name, "drained": True})

    async def undrain(self, exchange: Exchange) -> Response:
        self._check_may_write(exchange)
        name = exchange.path["node"]
        if name not in self._fleet.drained:  # one that is gone for good may still be
            self._known(name)
        await self._parts.drains.set(name, Deadline.after(_RECORD_S), drained=False)
        return _answered({"node": name, "drained": False})

    async def warm(self, exchange: Exchange) -> Response:
        """Have every node that shall hold segments of a collection load them; answers when that is done."""
        self._check_may_write(exchange)
        fields = await exchange.fields() if exchange.body_bytes else None
        tags = fields.texts("partitions", ()) if fields is not None else []
        request = pb.PreloadCollectionParam(collection_name=exchange.collection, partition_tag_array=tags)
        await exchange.call("PreloadCollection", request)
        return _answered({"collection": exchange.collection, "warm": True})

    async def set_replicas(self, exchange: Exchange) -> Response:
        """``{"replicas": NUMBER}``, or null to go back to the configured number."""
        self._check_may_write(exchange)
        fields = await exchange.fields()
        if "replicas" not in dict(fields.items()):
            raise BadHttpRequest(RestCode.BODY_FIELD_LOSS, "Field 'replicas' is required: a number, or null.")
        number = fields.integer("replicas") if fields.present("replicas") else None
        deadline, collection = Deadline.after(_RECORD_S), exchange.collection
        await self._parts.replicas.set(collection, number, deadline)
        now = await self._parts.replicas.get(collection, deadline)
        return _answered({"collection": collection, "replicas": now})

    def _snapshot(self) -> Snapshot:
        snapshot = self._parts.sources.cache.current
        if snapshot is None:
            raise CatalogUnavailable("no snapshot of the catalog has been read yet; try again later")
        return snapshot

    async def _spread(self) -> Spread:
        snapshot, owners = self._parts.sources.cache.current, self._fleet.membership.owners()
        if snapshot is None:
            return Spread()
        return await asyncio.to_thread(self._parts.sources.spreads.now, snapshot, owners)

    def _after(self, exchange: Exchange, before: tuple[Owner, ...]) -> tuple[Owner, ...]:
        leaves, joins = exchange.query.get("leaves"), exchange.query.get("joins")
        names = [owner.name for owner in before]
        if bool(leaves) == bool(joins):
            message = "One of the query parameters 'leaves' and 'joins' is required, with the name of a node."
            raise BadHttpRequest(RestCode.QUERY_PARAM_LOSS, message)
        if leaves:
            if leaves not in names:
                raise illegal_query("leaves", leaves, f"a node that holds segments ({', '.join(names) or 'none does'})")
            return self._without(leaves, before)
        if joins in names or joins is None:
            raise illegal_query("joins", str(joins), "the name of a node that is not there yet")
        return tuple(sorted((*before, Owner(joins, _weight(exchange))), key=lambda owner: owner.name))

    def _without(self, leaves: str, before: tuple[Owner, ...]) -> tuple[Owner, ...]:
        """Who holds segments when a node has left: the writable nodes where it was the last read-only one."""
        rest = tuple(owner for owner in before if owner.name != leaves)
        writers = self._fleet.membership.writers
        return rest or tuple(Owner(node.name, node.weight, node.zone) for node in writers if node.name != leaves)

    def _check_may_write(self, exchange: Exchange) -> None:
        check_may_write(exchange.headers, exchange.client_host, access_controlled=self._parts.access_controlled)

    def _known(self, name: str) -> Node:
        node = self._fleet.get(name)
        if node is None:
            known: Sequence[str] = sorted(node.name for node in self._fleet)
            message = f"There is no node {name}. Known are {', '.join(known) or 'none'}."
            raise BadHttpRequest(RestCode.UNKNOWN_PATH, message, HTTPStatus.NOT_FOUND)
        return node


def _answered(content: object) -> Response:
    response = ok(content)
    response.headers["cache-control"] = "no-store"
    return response


_CALL = ("node", "method", "seconds", "outcome", "hedge")


def _described(search: SlowSearch) -> dict[str, object]:
    calls = [{key: getattr(call, key) for key in _CALL} for call in search.node_calls]
    return {**asdict(replace(search, node_calls=())), "node_calls": calls}


def _conflict(message: str) -> BadHttpRequest:
    return BadHttpRequest(RestCode.NOT_ALLOWED, message, HTTPStatus.CONFLICT)


def _weight(exchange: Exchange) -> float:
    text = exchange.query.get("weight", "1")
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < 1000:
        raise illegal_query("weight", text, "a number more than 0 and less than 1000")
    return weight
