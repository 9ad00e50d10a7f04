"""What a search that was looked at once comes to, so that those like it need no look."""

from __future__ import annotations

from collections.abc import Sequence

from milvus_node.index.api import Vectors
from milvus_node.search.searcher import Query
from milvus_node.service.jobs import MAX_BATCH_ROWS
from milvus_node.service.stages import Waiting
from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.deadline import Deadline
from mishards.transport.api import Call
from mishards.wire.extensions import GROWING_KEY, REVISION_KEY

_ENOUGH_BY_INDEX = 8
"""What is the same for all rows of a batch is shared by then; only exact search gains by more, through products."""


class Plan:
    """What a search that passed every check comes to; the same for all that are alike but for vectors and caller."""

    __slots__ = ("collection", "enough", "key", "like", "notes", "segments", "version")

    def __init__(
        self,
        call: Call,
        snapshot: Snapshot,
        where: tuple[Collection, Sequence[Segment]],
        like: Query,
        place: Sequence[str] | Sequence[int],
    ) -> None:
        """``like`` is one of them; ``place`` says the same as the segments for one state of the catalog."""
        self.collection, self.segments = where
        self.like = like
        # A share holds its collection as long as it waits, so that the identity is that of no other.
        self.key = repr((id(self.collection), tuple(place), like.topk, like.metric, like.params))
        """The same for all that can be done together."""
        self.enough = _ENOUGH_BY_INDEX if all(segment.is_indexed for segment in self.segments) else MAX_BATCH_ROWS
        """Rows beyond which nothing is gained by doing them together."""
        self.version = snapshot.version
        """Of the snapshot that this was made from."""
        self.notes: dict[str, object] = {**call.notes, "segments": len(self.segments)}


class Wanted:
    """One caller's search."""

    __slots__ = ("deadline", "plan", "vectors", "waiting")

    def __init__(self, plan: Plan, vectors: Vectors, deadline: Deadline, waiting: Waiting | None) -> None:
        """``vectors`` may be a view of the request, with values that are not finite."""
        self.plan = plan
        self.vectors = vectors
        self.deadline = deadline
        self.waiting = waiting


def revision_of(call: Call) -> int | None:
    """The revision of the catalog that the caller works on; None of one who does not say, a client or an old router."""
    for key, value in call.metadata:
        if key == REVISION_KEY:
            return int(value) if value.isdecimal() else None
    return None


def asks_for_growing_rows(call: Call) -> bool:
    """Must the search see the rows that no segment has yet?"""
    for key, _ in call.metadata:  # noqa: SIM110 - no generator for each call
        if key == GROWING_KEY:
            return True
    return False
