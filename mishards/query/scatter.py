"""Ask many nodes at once, each for its segments, until every segment is answered.

A part of a search is some segments, asked of one node. When that node breaks, faults or is found dead while it is
being waited for, the part goes on at the next candidates at once, in pieces where these differ. When it merely takes
long, the pieces may be asked besides it, and whoever is first wins (hedging). All under one deadline. Nothing is left
out: every segment is answered exactly once, or the whole fails.

Belongs to the event loop; one ``Scatter`` serves one attempt of one search.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import cast

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.errors import NodeError, NodeRejected, NodeTimeout
from mishards.query.answer import Answer, StaleRoute, check_reply, unanswered
from mishards.query.asked import Asked
from mishards.query.hedge import Hedging
from mishards.query.part import Candidates, Ended, Next, Part, Patience, Request
from mishards.query.share import Share
from mishards.tracing import spans
from mishards.transport.api import GiveUp, Metadata
from mishards.wire.extensions import REVISION, REVISION_KEY
from mishards.wire.replies import is_success

log = logging.getLogger(__name__)


class Scatter:
    """One fan-out. Counts its calls: all ``attempts``, and of them those that ``failovers`` and ``hedges`` made."""

    def __init__(
        self, request: Request, candidates: Candidates, hedging: Hedging, patience: Patience, ended: Ended
    ) -> None:
        """``ended`` is told what came of it, unless it is given up: answers that cover every segment once, or an error.

        * StaleRoute: a node does not have a file it was asked for.
        * RefusedByNode: a node found fault with the request.
        * NodeError: the last failure for some segment, when nobody is left to ask.
        """
        self._request = request
        self._candidates = candidates
        self._hedging = hedging
        self._patience = patience
        self._ended: Ended | None = ended
        self._answers: list[Answer] = []
        self._parts: list[Part] = []
        self._open = 0
        self._fenced: Metadata | None = None
        self.attempts = self.failovers = self.hedges = 0

    def begin(self, shares: Sequence[Share]) -> None:
        """Ask for one share at least; the end is told later. Raises DeadlineExceeded where no time is left."""
        self._request.deadline.check("the search was sent to nodes")
        self._open = len(shares)
        for share in shares:
            self._hedging.called()
            self._ask(Part(self, share))

    def give_up(self) -> None:
        """Ask no more, and wait for nothing."""
        self._ended = None
        parts, self._parts = self._parts, []
        for part in parts:
            if not part.settled:
                self._abandon(part)

    def _end(self, answers: list[Answer], error: Exception | None) -> None:
        ended = self._ended
        if ended is not None:
            self.give_up()
            ended(answers, error)

    # --- asking ---

    def _ask(self, part: Part) -> None:
        share, request = part.share, self._request
        self.attempts += 1
        asked = part.asked = Asked(share, request.node_calls, self.attempts, hedge=part.rival is not None)
        self._parts.append(part)
        if asked.span is None and REVISION in share.node.capabilities:
            body, metadata = share.around(request.param), self._metadata
            part.give_up = share.node.begin(
                "SearchInFiles", body, part.replied, deadline=request.deadline, metadata=metadata
            )
        if part.give_up is None:
            name = f"search-{share.node.name}"
            call = asyncio.get_running_loop().create_task(self._call(share, asked), name=name)
            call.add_done_callback(partial(_called, part))
            part.give_up = cast("GiveUp", call.cancel)  # what it returns says nothing here
        self._patience.vigil.begin(part)
        if self._hedging.enabled and part.rival is None:
            delay_s = self._hedging.delay_s()
            if delay_s is not None:
                part.timer = asyncio.get_running_loop().call_later(delay_s, self._hedge, part, self._candidates.replica)

    @property
    def _metadata(self) -> Metadata:
        """For nodes that know revisions. What differs from call to call is last: the rest is known then."""
        if self._fenced is None:
            self._fenced = ((REVISION_KEY, str(self._request.revision)), *self._request.metadata)
        return self._fenced

    async def _call(self, share: Share, asked: Asked) -> bytes:
        """Ask where that takes waiting, or a span goes with it."""
        request, node = self._request, share.node
        await request.ready(node, share.segments)
        metadata = self._metadata if REVISION in node.capabilities else request.metadata
        metadata = spans.injected(metadata, asked.span)
        return await node.call(
            "SearchInFiles", share.around(request.param), deadline=request.deadline, metadata=metadata
        )

    # --- what comes back ---

    def replied(self, part: Part, reply: bytes, error: BaseException | None) -> None:
        """The call for a part has ended."""
        if part.settled:
            return
        part.give_up = None
        self._patience.vigil.end(part)
        try:
            self._judge(part, reply, error)
        except StaleRoute as stale:
            stale.answers = self._answers
            self._end([], stale)
        except Exception as failure:  # noqa: BLE001 - a callback has no caller: whoever waits for the search gets it
            self._end([], failure)

    def _judge(self, part: Part, reply: bytes, error: BaseException | None) -> None:
        node, asked = part.share.node, part.asked
        try:
            if error is not None:
                raise error
            if not is_success(reply):
                check_reply(node, reply)
        except BaseException as failure:
            asked.end(type(failure).__name__, failure)
            if not isinstance(failure, NodeError) or isinstance(failure, NodeRejected | NodeTimeout):
                raise
            self._failed(part, failure)
            return
        asked.end("ok")
        node.answered()
        if self._hedging.enabled:
            self._hedging.took(asked.seconds)
        self._won(part, Answer(node.record.name, part.share.segments, reply))

    def _won(self, part: Part, answer: Answer) -> None:
        root = part.rival
        if root is None:
            self._settle(part, [answer])
            return
        part.settled = True
        root.collected.append(answer)
        if len(root.collected) == len(root.hedges):
            self._settle(root, root.collected)

    def _settle(self, part: Part, answers: list[Answer]) -> None:
        self._abandon(part)
        for hedge in part.hedges:
            if not hedge.settled:
                self._abandon(hedge)
        self._answers += answers
        self._open -= 1
        if not self._open:
            self._end(self._answers, None)

    def _abandon(self, part: Part) -> None:
        part.settled = True
        if part.timer is not None:
            part.timer.cancel()
        if part.give_up is not None:
            self._patience.vigil.end(part)
            part.give_up()
            part.give_up = None
            part.asked.end("abandoned")
            if part.hedges:  # it lost to them: without it the percentile would be one of quick calls only
                self._hedging.took(part.asked.seconds)

    def _failed(self, part: Part, error: NodeError) -> None:
        root = part.rival
        if root is None:
            part.failure = error
            if not part.hedges:
                self._go_on(part, error)
        else:
            for hedge in root.hedges:
                if not hedge.settled:
                    self._abandon(hedge)
            root.hedges, root.collected = (), []
            root.tried += tuple(name for name in part.tried if name not in root.tried)
            if root.failure is not None:
                self._go_on(root, root.failure)

    def _go_on(self, part: Part, error: NodeError) -> None:
        """Ask the next candidates for what a node did not answer."""
        shares, share = _shares_of(part, self._candidates.following), part.share
        if shares is None:
            if not self._patience.partial:
                raise error
            self._settle(part, [unanswered(share.segments)])
            return
        names = ",".join(following.node.name for following in shares)
        log.warning("failover from=%s to=%s segments=%d: %s", share.node.name, names, len(share.segments), error)
        self._abandon(part)
        self.failovers += len(shares)
        self._open += len(shares) - 1
        for following in shares:
            self._ask(Part(self, following, part.tried))

    def late(self, part: Part) -> None:
        """Ask others besides a node that lives but does not answer: what it waits for may not come, as a hung disk."""
        if part.rival is None and not part.hedges:
            self._hedge(part, self._candidates.following)

    def _hedge(self, part: Part, choose: Next) -> None:
        """Ask others for a part that takes long, where every segment of it has one and the budget allows."""
        shares = None if part.settled else _shares_of(part, choose)
        if not shares or not self._hedging.spend(len(shares)):
            return
        self.hedges += len(shares)
        part.hedges = [Part(self, share, part.tried, rival=part) for share in shares]
        for hedge in part.hedges:
            self._ask(hedge)


def _shares_of(part: Part, choose: Next) -> list[Share] | None:
    """The part's segments by the nodes to ask now; None where one of them has none."""
    found: dict[str, tuple[Node, list[Segment]]] = {}
    for segment in part.share.segments:
        node = choose(segment, part.tried)
        if node is None:
            return None
        found.setdefault(node.name, (node, []))[1].append(segment)
    return [Share.of(node, segments) for node, segments in found.values()]


def _called(part: Part, call: asyncio.Task[bytes]) -> None:
    if not call.cancelled():
        error = call.exception()
        part.replied(b"" if error else call.result(), error)
