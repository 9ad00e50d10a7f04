"""From options to a running router: the only place where its concrete parts meet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mishards import __version__
from mishards.admin import routes as admin
from mishards.admin.drains import Drains, RecordDrain
from mishards.admin.memory import Memories
from mishards.admin.page import page_route
from mishards.admin.placement import Planner
from mishards.admin.topology import Sources
from mishards.admin.traffic import TrafficLog
from mishards.catalog.cache import Read, SnapshotCache
from mishards.catalog.drains import DrainWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.reader import CatalogReader
from mishards.catalog.replicas import ReplicaWriter
from mishards.cluster.fleet import Fleet
from mishards.command.forward import Forwarder
from mishards.config import RouterOptions
from mishards.deadline import Deadline
from mishards.discovery.api import Discovery
from mishards.discovery.select import discovery_for
from mishards.discovery.watch import NodeWatch
from mishards.errors import StartError
from mishards.logs.calls import AccessLog
from mishards.metrics import state as metrics
from mishards.metrics.calls import CallMetrics
from mishards.metrics.exposition import metrics_route, registry_of
from mishards.metrics.placement import Spreads
from mishards.plugins import load
from mishards.query.choice import Choice
from mishards.query.explain import Explainer
from mishards.query.hedge import Hedging
from mishards.query.holders import Holders
from mishards.query.joining import Joiners
from mishards.query.lookup import Lookup
from mishards.query.options import RoutingOptions
from mishards.query.part import Patience
from mishards.query.prepare import Preparation
from mishards.query.replicas import Record, Replicas
from mishards.query.route import Routes
from mishards.query.search import Searcher
from mishards.query.slow import SlowSearches
from mishards.query.snapshots import Snapshots
from mishards.query.vigil import Vigil
from mishards.query.warm import Warmer
from mishards.query.warming import Warming
from mishards.query.writer import WriterLeg
from mishards.rest.application import api_routes, application
from mishards.rest.guarded import guarded
from mishards.rest.server import HttpServer
from mishards.routing.api import Routing, RoutingPlugin
from mishards.routing.balance import Balancing, BalancingPlugin
from mishards.security.exposure import http_tls, warn_if_exposed
from mishards.security.guard import Guard
from mishards.service.admission import Admission
from mishards.service.commands import Commands
from mishards.service.dispatch import Dispatcher
from mishards.service.http import router_routes
from mishards.service.methods import Parts, entries
from mishards.service.readiness import Readiness
from mishards.tracing.select import call_tracer_for
from mishards.transport.api import Handler, Server, ServerOptions, Transport
from mishards.transport.bearer import BearerTransport
from mishards.transport.choice import transport_of

if TYPE_CHECKING:
    from mishards.tracing.handler import CallTracer  # imports opentracing

log = logging.getLogger(__name__)

_READY_POLL_S = 0.05
_FLUSH_S = 1.0
"""The longest that stopping waits for spans to be sent."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Where a router touches the world: calls, the catalog, and who exists."""

    transport: Transport
    read: Read
    discovery: Discovery
    close: Callable[[], None]
    """Gives back what reading the catalog holds."""
    record_replicas: Record
    record_drain: RecordDrain
    tracer: CallTracer | None = None
    """Where calls are traced."""

    def dropped_spans(self) -> int:
        """Spans that did not come to where they belong."""
        counts = self.tracer.counts if self.tracer is not None else None
        return counts.dropped + counts.failed if counts is not None else 0


def edges_of(options: RouterOptions) -> Edges:
    """The edges that the options name; nothing connects yet. Raises ConfigError and PluginError."""
    reader = CatalogReader(open_engine(options.metadata.uri))
    numbers, drains = ReplicaWriter(open_engine(options.metadata.uri)), DrainWriter(open_engine(options.metadata.uri))
    tracer = call_tracer_for(options.tracing, "mishards")
    transport = transport_of(options.network.transport, options.tls.server, options.nodes.client)
    if token := options.nodes.bearer():
        transport = BearerTransport(transport, token)

    def close() -> None:
        reader.close()
        numbers.close()
        drains.close()

    return Edges(transport, reader.read, discovery_for(options.discovery.uri), close, numbers.set, drains.set, tracer)


class Router:
    """A whole router. Make it, ``start`` it, ``stop`` it, all on one event loop."""

    def __init__(self, options: RouterOptions, edges: Edges) -> None:
        """Put the parts together; nothing connects yet. Raises PluginError."""
        self._options = options
        self._edges = edges
        self.cache = SnapshotCache(edges.read, interval_s=options.metadata.refresh_ms / 1000)
        self._watch = NodeWatch(edges.discovery, options.discovery.grace_ms / 1000)
        calls, access_log = CallMetrics(), AccessLog(options.log)
        admission = self._admission = Admission(options.admission)
        self.fleet = Fleet(self._watch, edges.transport, options.health, calls.called, self._drained)
        calls.is_known = lambda name: self.fleet.get(name) is not None
        self.readiness = Readiness(self.cache, self.fleet, self._watch)
        snapshots = Snapshots(self.cache, options.search)
        routing = routing_for(options.routing)
        routes = Routes(routing, options.routing)
        self._joiners = Joiners(self.fleet, snapshots, Routes(routing, options.routing))
        holders = Holders(believes=options.routing.warm_up)
        choice = Choice(self.fleet, balancing_for(options.routing.balancing), holders)
        self._warming = Warming(self.fleet, snapshots, routes, holders, options.routing)
        self.replicas = Replicas(edges.record_replicas, snapshots, routes)
        self._drains = Drains(edges.record_drain, snapshots)
        parts = self._parts(snapshots, routes, choice)
        self.slow, self._traffic = SlowSearches(), TrafficLog()
        told = (access_log.ended, calls.ended, self.slow.ended, self._traffic.ended)
        guard = Guard(options.security)
        dispatcher = Dispatcher(entries(parts), admission, told, guard)
        handler = edges.tracer.around(dispatcher) if edges.tracer else dispatcher
        spreads = Spreads(Routes(routing, options.routing).placement, routes.replicas_of)
        watched = metrics.Parts(
            self.fleet,
            self.cache,
            self._watch,
            admission,
            self.readiness,
            spreads,
            lambda: access_log.skipped,
            edges.dropped_spans,
            {"fleet-probe": lambda: self.fleet.looked_at, "joiners": lambda: self._joiners.looked_at},
        )
        self._state = metrics.RouterState(watched)
        self.metrics = registry_of([calls, self._state])
        self.explainer = Explainer(self.fleet, choice, self.cache, snapshots, routes)
        planner = Planner(Routes(routing, options.routing).placement, routes.replicas_of, holders.cold)
        self.admin = self._admin_parts(spreads, planner)
        self._server, self._http = self._servers(handler, guard)

    def _admin_parts(self, spreads: Spreads, planner: Planner) -> admin.Parts:
        name, began = self._options.name or self._options.network.address, time.monotonic()
        seen = Sources(name, __version__, began, self.fleet, self.cache, self._watch, self.readiness, spreads)
        memories, enforced = Memories(self.fleet), self._options.security.enforced
        return admin.Parts(seen, planner, self._traffic, self.slow, self.replicas, memories, self._drains, enforced)

    def _drained(self) -> frozenset[str]:
        current = self.cache.current
        return frozenset() if current is None else current.drained

    def _servers(self, handler: Handler, guard: Guard) -> tuple[Server, HttpServer | None]:
        network, limit = self._options.network, self._options.admission.max_message_bytes
        options = ServerOptions(network.address, max_message_bytes=limit, reuse_port=network.reuse_port)
        server = self._edges.transport.server(handler, options)
        if not network.http_address:
            return server, None
        own = [*router_routes(self.readiness, self.explainer), metrics_route(self.metrics, self._state.prepare)]
        pages = [page_route(), *guarded([*own, *admin.admin_routes(self.admin, handler)], guard)]
        app = application([*pages, *api_routes(handler, limit)])
        return server, HttpServer(app, network.http_address, http_tls(self._options.tls, self._options.security))

    def _parts(self, snapshots: Snapshots, routes: Routes, choice: Choice) -> Parts:
        """What serves the calls."""
        options = self._options
        forwarder = self.forwarder = Forwarder(self.fleet, options.write)
        preparation = Preparation(
            snapshots, routes, choice, WriterLeg(self.fleet, forwarder.send, forwarder.flush), options.search
        )
        hedging = Hedging(options.search.hedge)
        searcher = self._searcher = Searcher(
            preparation, snapshots, choice, hedging, options.search, _patience(options)
        )
        self._lookup = Lookup(self.fleet, options.search.deadline_ms)
        return Parts(
            searcher,
            self._lookup,
            Warmer(self.fleet, snapshots, routes, self.replicas),
            snapshots,
            forwarder,
            Commands(self.fleet, forwarder.forward, self.replicas),
        )

    async def start(self) -> str:
        """Listen and begin to follow catalog and discovery; return the bound ``host:port``.

        Raises:
            StartError: an address cannot be had.
        """
        network = self._options.network
        warn_if_exposed((network.address, network.http_address), self._options.tls, self._options.security)
        try:
            address = await self._server.start()
            if self._http is not None:
                log.info("http address=%s", await self._http.start())
            log.info("serving name=%s address=%s", self._options.name, address)
            self.cache.start()
            await self.fleet.start()
            self._joiners.start()
            self._warming.start()
        except StartError:
            await self.stop()
            raise
        return address

    def reconfigure(self, options: RouterOptions) -> None:
        """Go by other values of the settings in ``config.RELOADABLE`` from now on; all others must be as they are."""
        self._options = options
        self._admission.reconfigure(options.admission)
        self._searcher.reconfigure(options.search, _patience(options))
        self._lookup.reconfigure(options.search.deadline_ms)
        self.fleet.reconfigure(options.health)
        self.forwarder.reconfigure(options.write)

    async def ready(self) -> None:
        """Return once searches can be served."""
        while self.readiness.problems():
            await self.fleet.wait_for_news(Deadline.after(_READY_POLL_S))

    async def stop(self) -> None:
        """Not ready, then drain, then close. May be repeated."""
        self.readiness.draining = True
        grace_s = self._options.network.drain_ms / 1000
        servers = (self._server, self._http) if self._http is not None else (self._server,)
        await asyncio.gather(*(server.stop(grace_s) for server in servers))
        await self._warming.close()
        await self._joiners.close()
        await self.fleet.close()
        await asyncio.get_running_loop().run_in_executor(None, self.cache.close)
        self._edges.close()
        if self._edges.tracer is not None:
            await asyncio.to_thread(self._edges.tracer.close, _FLUSH_S)


def _patience(options: RouterOptions) -> Patience:
    return Patience(Vigil(options.health.patience_ms / 1000), options.search.partial)


def routing_for(options: RoutingOptions) -> Routing:
    """The routing that the options name. Raises PluginError."""
    plugin = cast("RoutingPlugin", load("mishards.routing", options.plugin))
    return plugin.routing(options.plugin_options)


def balancing_for(name: str, options: Mapping[str, str] | None = None) -> Balancing:
    """The balancing of that name. Raises PluginError."""
    plugin = cast("BalancingPlugin", load("mishards.balancing", name))
    return plugin.balancing(options or {})
