"""What searches that ask alike share: checked once, then at hand for as long as catalog, nodes and settings stay.

Belongs to the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mishards.catalog.snapshot import Snapshot
from mishards.errors import MishardsError
from mishards.query.choice import Choice
from mishards.query.options import Consistency
from mishards.query.part import Candidates
from mishards.query.prepare import Preparation, Wanted
from mishards.query.share import Share
from mishards.query.snapshots import Snapshots
from mishards.wire.alike import AlikeRequests
from mishards.wire.extensions import REVISION, STRICT_FILES
from mishards.wire.search import SearchEnvelope

_MOST_KEPT: Final = 1024

_OURS: Final = frozenset({REVISION, STRICT_FILES})
"""What nodes say that need not be told of deletes before a search, nor looked after when they have answered."""

_Alike = tuple[str, tuple[str, ...], int, str]


@dataclass(slots=True, eq=False)
class Plan:
    """What searches that ask alike share."""

    wanted: Wanted
    """The first of them."""
    graceful_ms: int
    """How old a snapshot may be, where the level says so."""
    candidates: Candidates
    shares: list[Share] | None = None
    """Whom to ask; None as long as that is not known, and where it is balanced anew for each search."""

    def for_request(self, request: bytes, snapshot: Snapshot) -> Wanted:
        """Another of them, prepared."""
        return replace(self.wanted, envelope=SearchEnvelope.scan(request), snapshot=snapshot)


class AtHand:
    """What is at hand for one search."""

    __slots__ = ("nq", "plan", "snapshot")

    def __init__(self, plan: Plan, snapshot: Snapshot, nq: int) -> None:
        self.plan = plan
        self.snapshot = snapshot
        self.nq = nq


class Plans:
    """Searches that were prepared, by what they ask for."""

    def __init__(self, preparation: Preparation, snapshots: Snapshots, choice: Choice) -> None:
        self._preparation = preparation
        self._snapshots = snapshots
        self._choice = choice
        self._kept: dict[_Alike, Plan] = {}
        self._alike: AlikeRequests[Plan] = AlikeRequests()
        self._kept_at: object = None

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._alike.clear()

    def keep(self, wanted: Wanted) -> None:
        """Keep a search that was prepared, where others like it need no more than to ask the same nodes."""
        level, graceful_ms = self._preparation.level(wanted.params)
        if wanted.growing or wanted.files is not None or level is Consistency.STRONG:
            return
        if not wanted.route.segments or not self._choice.all_have(_OURS):
            return
        state = wanted.snapshot.version, self._choice.state
        if state != self._kept_at or len(self._kept) >= _MOST_KEPT:
            self._kept_at = state
            self.clear()
        envelope, route = wanted.envelope, wanted.route
        candidates = Candidates(self._choice.following(route), self._choice.replica(route))
        first = replace(wanted, level=level, envelope=replace(envelope, buffer=b"", begin=0, end=0))
        plan = self._kept[_alike(envelope)] = Plan(first, graceful_ms, candidates)
        self._alike.remember(envelope.buffer, envelope.rows, plan)

    def shares(self, plan: Plan) -> list[Share]:
        """Whom to ask for what. Raises NoSearchNode."""
        if plan.shares is not None:
            return plan.shares
        shares = self._choice.first(plan.wanted.route)
        plan.shares = self._choice.fixed(plan.wanted.route)
        return shares

    def at_hand(self, request: bytes) -> AtHand | None:
        """What is at hand for an encoded ``SearchParam``; None where it takes more than that.

        Nothing is refused here: what cannot be had is None too.
        """
        if not self._kept:
            return None
        try:
            found = self._found(request)
            if found is None:
                return None
            plan, nq = found
            wanted = plan.wanted
            snapshot = self._snapshots.at_hand(wanted.level, plan.graceful_ms)
            if snapshot is None or (snapshot.version, self._choice.state) != self._kept_at:
                return None
            if wanted.level is Consistency.SESSION and self._preparation.has_unflushed(wanted):
                return None
            self._preparation.check_size(nq, wanted.envelope.topk)
        except MishardsError:
            return None
        return AtHand(plan, snapshot, nq)

    def _found(self, request: bytes) -> tuple[Plan, int] | None:
        alike = self._alike.count(request)
        if alike is not None:
            return alike
        envelope = SearchEnvelope.scan(request)
        plan = self._kept.get(_alike(envelope))
        if plan is None:
            return None
        self._alike.remember(request, envelope.rows, plan)
        return plan, envelope.nq


def _alike(envelope: SearchEnvelope) -> _Alike:
    return envelope.collection_name, envelope.partition_tags, envelope.topk, envelope.params
