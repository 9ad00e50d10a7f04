"""A node's share of a search while it is under way: how long it took and what became of it, and its span.

Belongs to the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.tracing import spans
from mishards.transport.api import NodeCall

if TYPE_CHECKING:
    from mishards.tracing.api import Span


class Asked:
    """One call of a node. A block with it is the judgement of the reply: what it raises became of the call."""

    __slots__ = ("_began", "_calls", "_hedge", "_node", "seconds", "span")

    def __init__(
        self, node: Node, segments: Sequence[Segment], calls: list[NodeCall], attempt: int, *, hedge: bool
    ) -> None:
        """Begin now; in the end it is added to ``calls``. ``attempt`` counts the calls of one fan-out from 1."""
        self._node = node.name
        self._calls = calls
        self._hedge = hedge
        self.span: Span | None = None
        if spans.active() is not None:
            self.span = spans.child(
                f"search_{node.name}",
                node=node.name,
                address=node.record.address,
                files=len(segments),
                rows=sum(segment.rows for segment in segments),
                attempt=attempt,
                hedge=hedge,
            )
        self._began: float | None = time.perf_counter()
        self.seconds = 0.0
        """How long it took, once it has ended."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end("ok" if error is None else type(error).__name__, error)

    def abandon(self) -> None:
        """Nobody waits for it any more; nothing where it has ended."""
        self._end("abandoned", None)

    def _end(self, outcome: str, error: BaseException | None) -> None:
        if self._began is None:
            return
        self.seconds, self._began = time.perf_counter() - self._began, None
        self._calls.append(NodeCall(self._node, "SearchInFiles", self.seconds, outcome, self._hedge))
        if self.span is not None:
            self.span.set_tag("status", outcome)
            spans.end(self.span, error)
