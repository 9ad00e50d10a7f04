"""What a search may need of the writable node: its growing rows, or that it flushes them.

Growing rows are asked for only where the node has said that it has them (capability ``growing``) and the catalog
carries its revision; a Milvus server is asked to flush instead.

Belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mishards.catalog.snapshot import Snapshot
from mishards.cluster.fleet import Fleet
from mishards.deadline import Deadline
from mishards.errors import MalformedReply, NodeFault, NodeUnavailable, NoWritableNode
from mishards.query.answer import Answer, RefusedByNode, StaleRoute
from mishards.query.verdict import Verdict, judge
from mishards.transport.api import Metadata
from mishards.wire.extensions import GROWING, GROWING_KEY
from mishards.wire.growing import Cut, split_cut
from mishards.wire.replies import status_of

Flush = Callable[[list[str], Deadline], Awaitable[None]]
"""Makes what was written to these collections visible."""


class Send(Protocol):
    """A call to the writable node, as ``command.forward.Forwarder.send`` makes it."""

    def __call__(
        self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()
    ) -> Awaitable[bytes]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Growing:
    """The growing rows' answer to a search, and what it covers."""

    answer: Answer
    cut: Cut


class WriterLeg:
    """Asks the writable node on behalf of searches."""

    def __init__(self, fleet: Fleet, send: Send, flush: Flush) -> None:
        self._fleet = fleet
        self._send = send
        self.flush = flush

    def has_growing(self, snapshot: Snapshot) -> bool:
        """Can growing rows be fitted to this snapshot? A revision of 0 says nothing of what it is older than."""
        writer = self._fleet.writer
        return snapshot.revision > 0 and writer is not None and GROWING in writer.capabilities

    async def growing(self, param: bytes, position: int, metadata: Metadata, deadline: Deadline) -> Growing:
        """Search the rows that are in no segment of a catalog that is flushed up to ``position``.

        A search may be repeated: a writable node that breaks is waited for, as long as there is time.

        Raises:
            StaleRoute: the node does not know the collection, or not any more.
            RefusedByNode: it found fault with the request.
            NodeError, ClusterError: it cannot be had.
        """
        metadata = (*metadata, (GROWING_KEY, str(position)))
        while True:
            try:
                return self._judged(await self._send("Search", param, deadline=deadline, metadata=metadata))
            except NodeUnavailable:
                if deadline.remaining() <= 0:
                    raise
                await self._fleet.wait_for_news(deadline.earlier(0.1))

    async def growing_now(self, param: bytes, position: int, metadata: Metadata, deadline: Deadline) -> Growing:
        """The same, asked once, of a node against which nothing is known."""
        writer = self._fleet.writer
        if writer is None or not writer.usable:
            raise NoWritableNode("no writable node that answers is known")
        metadata = (*metadata, (GROWING_KEY, str(position)))
        return self._judged(await writer.call("Search", param, deadline=deadline, metadata=metadata))

    def _judged(self, reply: bytes) -> Growing:
        name = self._fleet.writer.name if self._fleet.writer is not None else "writable"
        try:
            cut, rest = split_cut(reply)
        except MalformedReply as error:
            code, reason = status_of("Search", reply)
            if not code:
                raise NodeFault(name, str(error)) from error
            if judge(code, reason) is Verdict.STALE:
                raise StaleRoute(name, reason) from error
            raise RefusedByNode(reply) from error
        return Growing(Answer(name, (), rest), cut)
