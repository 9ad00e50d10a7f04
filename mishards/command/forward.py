"""Hands calls to the writable node as untouched bytes.

The rule of repetition: a call that may have been carried out is never made again; one that certainly never left, or
that a node refused because it does not lead, is held for a bounded time, while a leader is being waited for.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node, passed_on
from mishards.deadline import Deadline
from mishards.errors import NodeRejected, NodeTimeout, NodeUnavailable, NoWritableNode, Overloaded, RpcStatus
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

    wait_ms: int = field(
        default=10_000,
        metadata=about("longest time that a call is held for want of a writable node that leads", minimum=0),
    )
    max_held_bytes: int = field(
        default=256 << 20, metadata=about("requests held at once, in bytes; one more is refused", minimum=0)
    )
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
        self.held_bytes = 0
        """Requests that wait for a leader."""

    def reconfigure(self, options: WriteOptions) -> None:
        """Go by other options from now on, calls under way included."""
        self._options = options

    async def forward(self, call: Call) -> bytes:
        """The writable node's reply to a client's call. Raises as ``send``."""
        return await self.send(call.method, call.request, deadline=call.deadline, metadata=passed_on(call.metadata))

    async def send(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """The writable node's reply.

        Raises:
            NoWritableNode: none that leads could be reached within ``wait_ms``; nothing was done.
            Overloaded: too much waits for one already; nothing was done.
            NodeUnavailable: the connection broke after the call was sent; it may have been carried out.
            NodeTimeout: the deadline passed, or the node stopped answering; it may have been carried out.
        """
        patience = deadline.earlier(self._options.wait_ms / 1000)
        while True:
            node = self._fleet.writer
            reason = "no writable node leads" if self._fleet.writers() else "no writable node is known"
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
                except NodeRejected as error:
                    if error.status is not RpcStatus.FAILED_PRECONDITION:
                        raise
                    node.stands_by()
                    reason = str(error)
                notes.count(retries=1)
            if patience.remaining() <= 0:
                raise NoWritableNode(f"{method} was not done, waited {self._options.wait_ms} ms: {reason}")
            with self._held(len(request)):
                self._fleet.seek_leader()
                await self._fleet.wait_for_news(patience.earlier(0.1))

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        if self.held_bytes and self.held_bytes + size > self._options.max_held_bytes:
            raise Overloaded(f"{self.held_bytes} bytes wait for a writable node already, no room for {size} more")
        self.held_bytes += size
        try:
            yield
        finally:
            self.held_bytes -= size

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
                successor = self._fleet.writer
                if silent_s and successor not in (None, node):
                    raise NodeTimeout(node.record.address, f"it fell silent and was succeeded; {method} may be done")
                if silent_s * 1000 >= self._options.stall_ms:
                    raise NodeTimeout(
                        node.record.address, f"no sign of life for {silent_s:.0f} s; {method} may be done"
                    )
        finally:
            call.cancel()
