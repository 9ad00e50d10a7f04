"""Deletes on nodes that do not look for them: a Milvus 1.x read-only node goes on serving a cached segment as it was.

Such a node takes notice of deletes when it is told ``ReloadSegments``, or when it loads the segment afresh. So, before
a search is sent to it, it is told of every segment in it that has deletes newer than what it is known to have; known is
what it has confirmed, nothing else. A node that cannot be told is not searched.

Segments that never had a delete are left alone: the size of a raw file tells how many rows it was written with. Our own
nodes look for themselves (capability ``revision``), and the writable node is the one that deletes.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mishards.catalog.deletes import has_deletes
from mishards.catalog.snapshot import Collection, Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRole
from mishards.errors import NodeFault
from mishards.tracing import spans
from mishards.wire.extensions import REVISION
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import status_of

_MOST = 200_000
"""Confirmations kept for a node; beyond, those are forgotten first that were made first."""


class Reloads:
    """What each node has confirmed."""

    def __init__(self) -> None:
        self._confirmed: dict[str, dict[int, int]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    def pending(self, node: Node, collection: Collection, segments: Sequence[Segment]) -> list[Segment]:
        """The segments of which a node must be told before it searches them."""
        if REVISION in node.capabilities or node.record.role is NodeRole.WRITABLE:
            return []
        confirmed = self._confirmed.get(node.name, {})
        return [s for s in segments if has_deletes(collection, s) and confirmed.get(s.file.id, -1) < s.version]

    async def ensure(self, collection: Collection, deadline: Deadline, node: Node, segments: Sequence[Segment]) -> None:
        """Return once a node serves these segments without the rows deleted so far.

        Raises:
            NodeError: it could not be told.
        """
        if not self.pending(node, collection, segments):
            return
        async with self._turns.setdefault(node.name, asyncio.Lock()):
            pending = self.pending(node, collection, segments)  # whoever was first may have told it
            if not pending:
                return
            request = pb.ReLoadSegmentsParam(
                collection_name=collection.name, segment_id_array=[str(segment.file.id) for segment in pending]
            )
            with spans.within(f"reload_{node.name}", node=node.name, files=len(pending)):
                reply = await node.call(
                    "ReloadSegments", request.SerializeToString(), deadline=deadline, metadata=spans.injected(())
                )
            code, reason = status_of("ReloadSegments", reply)
            if code:
                raise NodeFault(node.record.address, f"it does not take notice of deletes: {reason}")
            self._confirm(node.name, pending)

    def _confirm(self, name: str, segments: Sequence[Segment]) -> None:
        confirmed = self._confirmed.setdefault(name, {})
        for segment in segments:
            confirmed.pop(segment.file.id, None)
            confirmed[segment.file.id] = segment.version
        while len(confirmed) > _MOST:
            del confirmed[next(iter(confirmed))]
