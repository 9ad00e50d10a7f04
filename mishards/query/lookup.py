"""Reads that one node answers whole: the client's bytes to a node that can, and to another when that one fails.

Belongs to the event loop.
"""

from __future__ import annotations

import logging

from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node, passed_on
from mishards.errors import NodeError, NodeRejected, NodeTimeout, NoSearchNode
from mishards.logs import notes
from mishards.tracing import spans
from mishards.transport.api import Call

log = logging.getLogger(__name__)


class Lookup:
    """Answers calls by id."""

    def __init__(self, fleet: Fleet, deadline_ms: int) -> None:
        self._fleet = fleet
        self._deadline_ms = deadline_ms

    def reconfigure(self, deadline_ms: int) -> None:
        """Give calls whose client set no deadline so long from now on."""
        self._deadline_ms = deadline_ms

    async def ask(self, call: Call) -> bytes:
        """The reply of the first node that answers: the writable one, which is never behind, then the others.

        Raises:
            NodeError: the last failure, when none answered.
            NoSearchNode: there is no node.
        """
        deadline = call.deadline.earlier(self._deadline_ms / 1000)
        failure: Exception = NoSearchNode(f"no node is known that could answer {call.method}")
        for node in self._candidates():
            try:
                with spans.within(f"ask_{node.name}", node=node.name, method=call.method):
                    metadata = spans.injected(passed_on(call.metadata))
                    return await node.call(call.method, call.request, deadline=deadline, metadata=metadata)
            except (NodeRejected, NodeTimeout):
                raise
            except NodeError as error:
                log.warning("%s goes on at the next node: %s", call.method, error)
                notes.count(failovers=1)
                failure = error
        raise failure

    def _candidates(self) -> list[Node]:
        writer = self._fleet.writer
        nodes = ([writer] if writer is not None else []) + [n for n in self._fleet.living() if n is not writer]
        return sorted(nodes, key=lambda node: not node.usable)
