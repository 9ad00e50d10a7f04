"""A node as a process: listen, announce, wait for a signal, drain, close."""

from __future__ import annotations

import asyncio
import logging
import signal

from starlette.routing import Route

from milvus_node.assembly import Node
from milvus_node.config import NodeOptions
from milvus_node.service.commands import CAPABILITIES
from milvus_node.service.stages import staged
from mishards.discovery.api import Announcer, NodeRecord, NodeRole, NodeState
from mishards.discovery.select import announcer_for
from mishards.metrics.exposition import metrics_route
from mishards.rest.application import api_routes, application
from mishards.rest.health import health_routes
from mishards.rest.server import HttpServer
from mishards.tracing.select import call_tracer_for
from mishards.transport.api import Handler, Server, ServerOptions
from mishards.transport.choice import transport_of

log = logging.getLogger(__name__)

_FLUSH_S = 1.0
"""The longest that stopping waits for spans to be sent."""


async def run(options: NodeOptions) -> None:
    """Serve until SIGTERM or SIGINT. Prints ``ready HOST:PORT`` on standard output once calls are served.

    Raises:
        StartError, PluginError, CatalogError, StorageError: the node cannot run here.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    announcer = announcer_for(options.discovery) if options.discovery else None
    tracer = call_tracer_for(options.tracing, "milvus-node")
    node = Node(options)
    try:
        dispatcher = await asyncio.to_thread(node.open)
        if tracer is not None:
            node.dropped_spans = lambda: tracer.counts.dropped + tracer.counts.failed
        handler = dispatcher if tracer is None else tracer.around(staged(dispatcher))
        servers = _servers(options, handler, metrics_route(node.metrics), stopping)
        try:
            addresses = [await server.start() for server in servers]
            log.info("listening on %s", ", ".join(addresses))
            await _serve(options, announcer, addresses[0], stopping)
        finally:
            await asyncio.gather(*(server.stop(options.drain_s) for server in servers))
    finally:
        await asyncio.to_thread(node.close)
        if tracer is not None:
            await asyncio.to_thread(tracer.close, _FLUSH_S)


def _servers(options: NodeOptions, handler: Handler, metrics: Route, stopping: asyncio.Event) -> list[Server]:
    """The gRPC server, and after it the HTTP server where there is to be one."""
    limit = options.calls.max_message_bytes
    transport = transport_of(options.transport)
    grpc = transport.server(handler, ServerOptions(address=options.address, max_message_bytes=limit))
    if not options.http_address:
        return [grpc]

    def problems() -> list[str]:
        return ["this node is stopping"] if stopping.is_set() else []

    routes = [*health_routes(problems, warnings=list), metrics, *api_routes(handler, limit)]
    return [grpc, HttpServer(application(routes), options.http_address)]


async def _serve(options: NodeOptions, announcer: Announcer | None, address: str, stopping: asyncio.Event) -> None:
    record = NodeRecord(
        name=options.name or address,
        role=NodeRole(options.role.value),
        address=address,
        state=NodeState.READY,
        capabilities=frozenset(CAPABILITIES),
    )
    if announcer is not None:
        await asyncio.to_thread(announcer.announce, record)
    try:
        print(f"ready {address}", flush=True)  # noqa: T201 - the line that a supervisor waits for
        log.info("serving role=%s address=%s", options.role.value, address)
        await stopping.wait()
        log.info("stopping")
    finally:
        if announcer is not None:
            await asyncio.to_thread(announcer.withdraw)
