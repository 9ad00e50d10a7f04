"""A node's share of a search while it is under way: how long it took and what became of it, and its span.

Belongs to the event loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mishards.query.share import Share
from mishards.tracing import spans
from mishards.transport.api import NodeCall

if TYPE_CHECKING:
    from mishards.tracing.api import Span


class Asked:
    """One call of a node."""

    __slots__ = ("_began", "_calls", "_hedge", "_node", "seconds", "span")

    def __init__(self, share: Share, calls: list[NodeCall], attempt: int, *, hedge: bool) -> None:
        """Begin now; in the end it is added to ``calls``. ``attempt`` counts the calls of one fan-out from 1."""
        node = share.node
        self._node = node.record.name
        self._calls = calls
        self._hedge = hedge
        self.span: Span | None = None
        if spans.active() is not None:
            self.span = spans.child(
                f"search_{node.name}",
                node=node.name,
                address=node.record.address,
                files=len(share.segments),
                rows=sum(segment.rows for segment in share.segments),
                attempt=attempt,
                hedge=hedge,
            )
        self._began: float | None = time.perf_counter()
        self.seconds = 0.0
        """How long it took, once it has ended."""

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """It has ended: ``ok``, ``abandoned``, or in an error of that name. Nothing where it had ended before."""
        if self._began is None:
            return
        self.seconds, self._began = time.perf_counter() - self._began, None
        self._calls.append(NodeCall(self._node, "SearchInFiles", self.seconds, outcome, self._hedge))
        if self.span is not None:
            self.span.set_tag("status", outcome)
            spans.end(self.span, error)
