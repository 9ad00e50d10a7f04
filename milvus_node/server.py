"""A node as a process: listen, announce, wait for a signal, drain, close."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from starlette.routing import Route

from milvus_node.announce import Participation
from milvus_node.assembly import Node
from milvus_node.config import RELOADABLE, NodeOptions
from milvus_node.roles import Role
from milvus_node.service.commands import CAPABILITIES
from milvus_node.service.stages import staged
from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.select import announcer_for
from mishards.logs.output import set_level
from mishards.metrics.exposition import metrics_route
from mishards.options import Loaded
from mishards.options.reload import rereading
from mishards.rest.application import api_routes, application
from mishards.rest.guarded import guarded
from mishards.rest.health import health_routes
from mishards.rest.server import HttpServer
from mishards.security.exposure import http_tls, warn_if_exposed
from mishards.tracing.select import call_tracer_for
from mishards.transport.api import Handler, Server, ServerOptions
from mishards.transport.choice import transport_of
from mishards.transport.loop import settle

log = logging.getLogger(__name__)

_FLUSH_S = 1.0
"""The longest that stopping waits for spans to be sent."""


async def run(options: NodeOptions, load: Callable[[], Loaded[NodeOptions]]) -> None:
    """Serve until SIGTERM or SIGINT. Prints ``ready HOST:PORT`` on standard output once calls are served.

    On SIGHUP the settings are read again, by ``load``.

    Raises:
        StartError, PluginError, CatalogError, StorageError: the node cannot run here.
    """
    announcer = announcer_for(options.discovery) if options.discovery else None
    tracer = call_tracer_for(options.tracing, "milvus-node")
    node = Node(options)
    stopping = _signalled(node, options, load)
    try:
        dispatcher = await asyncio.to_thread(node.open)
        if stopping.is_set():
            log.info("told to stop before it served")
            return
        if tracer is not None:
            node.dropped_spans = lambda: tracer.counts.dropped + tracer.counts.failed
        handler = dispatcher if tracer is None else tracer.around(staged(dispatcher))
        part = Participation(announcer, options.announce, node.activity)
        health = health_routes(lambda: _problems(part, stopping), node.warnings)
        servers = _servers(options, handler, guarded([*health, metrics_route(node.metrics)], node.guard))
        warn_if_exposed((options.address, options.http_address), options.tls, options.security)
        try:
            addresses = [await server.start() for server in servers]
            log.info("listening on %s", ", ".join(addresses))
            await part.join(record_of(options, addresses[0]))
            settle()
            print(f"ready {addresses[0]}", flush=True)  # noqa: T201 - the line that a supervisor waits for
            log.info("serving role=%s address=%s", options.role.value, addresses[0])
            await part.take_part(stopping)
            await asyncio.to_thread(node.hand_over)  # a standby takes writes while this node ends what it has
        finally:
            await asyncio.gather(*(server.stop(options.drain_s) for server in servers))
            await part.leave()
    finally:
        await asyncio.to_thread(node.close)
        if tracer is not None:
            await asyncio.to_thread(tracer.close, _FLUSH_S)


def _signalled(node: Node, options: NodeOptions, load: Callable[[], Loaded[NodeOptions]]) -> asyncio.Event:
    """Have signals heard from now on; the event is set by those that stop the node."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        node.preload.call_off()

    def take(found: NodeOptions) -> None:
        node.reconfigure(found)
        set_level(found.log)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, rereading(options, load, RELOADABLE, take, log))
    return stopping


def record_of(options: NodeOptions, bound: str) -> NodeRecord:
    """What a node announces at first. A writable one is ready at once: nobody does its work while it warms up."""
    return NodeRecord(
        name=options.name or bound,
        role=NodeRole(options.role.value),
        address=options.announce.reachable(bound),
        weight=options.announce.weight,
        zone=options.announce.zone,
        state=NodeState.JOINING if options.role is Role.READONLY else NodeState.READY,
        capabilities=frozenset(CAPABILITIES),
    )


def _problems(part: Participation, stopping: asyncio.Event) -> list[str]:
    if stopping.is_set():
        return ["this node is stopping"]
    return ["this node is joining: routers load what it will hold"] if part.is_joining else []


def _servers(options: NodeOptions, handler: Handler, routes: list[Route]) -> list[Server]:
    """The gRPC server, and after it the HTTP server where there is to be one."""
    limit = options.calls.max_message_bytes
    transport = transport_of(options.transport, options.tls.server)
    grpc = transport.server(handler, ServerOptions(address=options.address, max_message_bytes=limit))
    if not options.http_address:
        return [grpc]
    app = application([*routes, *api_routes(handler, limit)])
    return [grpc, HttpServer(app, options.http_address, http_tls(options.tls, options.security))]
