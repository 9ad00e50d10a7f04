"""A node as a process: listen, announce, wait for a signal, drain, close."""

from __future__ import annotations

import asyncio
import logging
import signal

from milvus_node.assembly import Node
from milvus_node.config import NodeOptions
from milvus_node.service.commands import CAPABILITIES
from mishards.discovery.api import Announcer, NodeRecord, NodeRole, NodeState
from mishards.discovery.select import announcer_for
from mishards.transport.api import ServerOptions
from mishards.transport.grpcio import GrpcioTransport

log = logging.getLogger(__name__)


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
    node = Node(options)
    try:
        dispatcher = await asyncio.to_thread(node.open)
        server = GrpcioTransport().server(
            dispatcher,
            ServerOptions(address=options.address, max_message_bytes=options.calls.max_message_bytes),
        )
        address = await server.start()
        try:
            await _serve(options, announcer, address, stopping)
        finally:
            await server.stop(options.drain_s)
    finally:
        await asyncio.to_thread(node.close)


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
