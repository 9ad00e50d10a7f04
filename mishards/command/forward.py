"""Hands calls to the writable node as untouched bytes.

The rule of repetition: a call that may have reached the node is never made again; one that certainly never left is,
for a bounded time, while a writable node is being waited for.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node, passed_on
from mishards.deadline import Deadline
from mishards.errors import NodeTimeout, NodeUnavailable, NoWritableNode
from mishards.logs import notes
from mishards.options import about
from mishards.tracing import spans
from mishards.transport.api import Call, Metadata
from mishards.wire.protos import milvus_pb2
from mishards.wire.replies import status_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Writes and everything else that goes to the writable node."""

    wait_ms: int = field(default=10_000, metadata=about("longest wait for a writable node", minimum=0))
    stall_ms: int = field(
        default=30_000, metadata=about("a writable node that answers no probe for so long loses its calls", minimum=100)
    )
    probe_pause_ms: int = field(
        default=2_000, metadata=about("between probes of the writable node while a call is under way", minimum=10)
    )


class Forwarder:
    """Calls the writable node."""

    def __init__(self, fleet: Fleet, options: WriteOptions) -> None:
        self._fleet = fleet
        self._options = options

    async def forward(self, call: Call) -> bytes:
        """The writable node's reply to a client's call. Raises as ``send``."""
        return await self.send(call.method, call.request, deadline=call.deadline, metadata=passed_on(call.metadata))

    async def send(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """The writable node's reply.

        Raises:
            NoWritableNode: none could be reached within ``wait_ms``; nothing was sent.
            NodeUnavailable: the connection broke after the call was sent; it may have been carried out.
            NodeTimeout: the deadline passed, or the node stopped answering; it may have been carried out.
        """
        patience = deadline.earlier(self._options.wait_ms / 1000)
        while True:
            node = self._fleet.writer
            reason = "no writable node is known"
            if node is not None:
                try:
                    with spans.within(f"forward_{method}", node=node.name, role="writer") as span:
                        reply = await self._call(node, method, request, deadline, spans.injected(metadata))
                        if span is not None:
                            span.set_tag("status", int(status_of(method, reply)[0]))
                        return reply
                except NodeUnavailable as error:
                    if error.sent:
                        raise
                    reason = str(error)
                    notes.count(retries=1)
            if patience.remaining() <= 0:
                raise NoWritableNode(f"{method} was not sent, waited {self._options.wait_ms} ms: {reason}")
            await self._fleet.wait_for_news(patience.earlier(0.1))

    async def flush(self, collections: list[str], deadline: Deadline) -> None:
        """Make everything acknowledged so far visible. Raises as ``send``, or NodeUnavailable when it is refused."""
        request = milvus_pb2.FlushParam(collection_name_array=collections).SerializeToString()
        code, reason = status_of("Flush", await self.send("Flush", request, deadline=deadline))
        if code:
            raise NoWritableNode(f"flush of {', '.join(collections)} failed: {reason}")

    async def _call(self, node: Node, method: str, request: bytes, deadline: Deadline, metadata: Metadata) -> bytes:
        call = asyncio.ensure_future(node.call(method, request, deadline=deadline, metadata=metadata))
        silent_s, pause_s = 0.0, self._options.probe_pause_ms / 1000
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=pause_s)
                if done:
                    return call.result()
                silent_s = 0.0 if await node.probe() else silent_s + pause_s
                if silent_s * 1000 >= self._options.stall_ms:
                    raise NodeTimeout(
                        node.record.address, f"no sign of life for {silent_s:.0f} s; {method} may be done"
                    )
        finally:
            call.cancel()
