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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import NodeError, NodeRejected, NodeTimeout
from mishards.query.answer import Answer, LifeWatch, StaleRoute, reply_of, unanswered
from mishards.query.asked import Asked
from mishards.query.hedge import Hedging
from mishards.tracing import spans
from mishards.transport.api import Metadata, NodeCall
from mishards.wire.extensions import REVISION, REVISION_KEY
from mishards.wire.search import search_in_files

log = logging.getLogger(__name__)

Next = Callable[[Segment, tuple[str, ...]], "Node | None"]
"""The node to ask for a segment, given the names of those already tried; None when there is no other."""


Ready = Callable[[Node, Sequence[Segment]], Awaitable[None]]
"""Returns once a node may be asked for these segments; raises NodeError when it may not."""


@dataclass(frozen=True, slots=True)
class Request:
    """What every node is asked: the client's own encoded ``SearchParam``, under one deadline."""

    param: bytes
    deadline: Deadline
    metadata: Metadata
    revision: int
    """Of the snapshot that names the segments."""
    ready: Ready
    node_calls: list[NodeCall] = field(default_factory=list)
    """Gets every call of a node when it ends."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Whom to ask when a node fails, and when it takes long: any, and only those that hold the segment."""

    following: Next
    replica: Next


@dataclass(slots=True, eq=False)
class Part:
    """Segments asked of one node, the nodes asked so far, and the race with its hedges, if there are any."""

    segments: tuple[Segment, ...]
    tried: tuple[str, ...] = ()
    rival: Part | None = None
    """The part that this one is a piece of and was asked besides."""
    hedges: list[Part] = field(default_factory=list)
    collected: list[Answer] = field(default_factory=list)
    """What the hedges have answered."""
    failure: NodeError | None = None
    settled: bool = False
    call: asyncio.Task[bytes] | None = None
    asked: Asked | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How a search puts up with nodes that do not answer."""

    probe_after_s: float
    """How long a node may take before it is probed for life."""
    partial: bool = False
    """Go on without what nobody answers, instead of failing."""


class Scatter:
    """One fan-out. Counts its calls: all ``attempts``, and of them those that ``failovers`` and ``hedges`` made."""

    def __init__(self, request: Request, candidates: Candidates, hedging: Hedging, patience: Patience) -> None:
        self._request = request
        self._candidates = candidates
        self._hedging = hedging
        self._patience = patience
        self._answers: list[Answer] = []
        self._parts: set[Part] = set()
        self._open = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts = self.failovers = self.hedges = 0

    async def run(self, parts: Sequence[tuple[Node, tuple[Segment, ...]]]) -> list[Answer]:
        """Ask, and return the answers, which cover every segment once.

        Raises:
            StaleRoute: a node does not have a file it was asked for.
            RefusedByNode: a node found fault with the request.
            NodeError: the last failure for some segment, when nobody is left to ask.
            DeadlineExceeded: time ran out.
        """
        self._request.deadline.check("the search was sent to nodes")
        self._open = len(parts)
        try:
            for node, segments in parts:
                self._hedging.called()
                self._ask(node, Part(segments))
            await self._done
        finally:
            for part in list(self._parts):
                self._abandon(part)
        return self._answers

    def _ask(self, node: Node, part: Part) -> None:
        loop = asyncio.get_running_loop()
        self.attempts += 1
        asked = part.asked = Asked(
            node, part.segments, self._request.node_calls, self.attempts, hedge=part.rival is not None
        )
        part.call = loop.create_task(self._call(node, part.segments, asked), name=f"search-{node.name}")
        part.tried += (node.name,)
        self._parts.add(part)
        watch = LifeWatch(node, part.call, self._patience.probe_after_s)
        part.call.add_done_callback(partial(self._ended, node, part, watch, asked))
        delay_s = self._hedging.delay_s() if part.rival is None else None
        if delay_s is not None:
            part.timer = loop.call_later(delay_s, self._hedge, part)

    async def _call(self, node: Node, segments: tuple[Segment, ...], asked: Asked) -> bytes:
        request = self._request
        await request.ready(node, segments)
        body = search_in_files([segment.file.id for segment in segments], request.param)
        metadata = spans.injected(request.metadata, asked.span)
        if REVISION in node.capabilities:
            metadata = (*metadata, (REVISION_KEY, str(request.revision)))
        return await node.call("SearchInFiles", body, deadline=request.deadline, metadata=metadata)

    def _ended(self, node: Node, part: Part, watch: LifeWatch, asked: Asked, call: asyncio.Task[bytes]) -> None:
        watch.stop()
        self._parts.discard(part)
        if part.settled or self._done.done():
            if not call.cancelled():
                call.exception()  # looked at, so that asyncio does not complain
            asked.abandon()
            return
        try:
            try:
                with asked:
                    reply = reply_of(node, call)
            except (NodeRejected, NodeTimeout):
                raise
            except NodeError as error:
                self._failed(node, part, error)
            else:
                self._hedging.took(asked.seconds)
                self._won(part, Answer(node.name, part.segments, reply))
        except StaleRoute as stale:
            stale.answers = self._answers
            self._done.set_exception(stale)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: whoever waits for the search gets it
            self._done.set_exception(error)

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
        for racing in (part, *part.hedges):
            self._abandon(racing)
        self._answers += answers
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def _abandon(self, part: Part) -> None:
        part.settled = True
        if part.timer is not None:
            part.timer.cancel()
        if part.call is not None:
            part.call.cancel()
        if part.asked is not None:
            part.asked.abandon()

    def _failed(self, node: Node, part: Part, error: NodeError) -> None:
        root = part.rival
        if root is None:
            part.failure = error
            if not part.hedges:
                self._go_on(node, part, error)
        else:
            for hedge in root.hedges:
                self._abandon(hedge)
            root.hedges, root.collected = [], []
            root.tried += tuple(name for name in part.tried if name not in root.tried)
            if root.failure is not None:
                self._go_on(node, root, root.failure)

    def _go_on(self, node: Node, part: Part, error: NodeError) -> None:
        """Ask the next candidates for what a node did not answer."""
        pieces = self._pieces(part, self._candidates.following)
        if pieces is None:
            if not self._patience.partial:
                raise error
            self._settle(part, [unanswered(part.segments)])
            return
        names = ",".join(following.name for following, _ in pieces)
        log.warning("failover from=%s to=%s segments=%d: %s", node.name, names, len(part.segments), error)
        self._abandon(part)
        self.failovers += len(pieces)
        self._open += len(pieces) - 1
        for following, segments in pieces:
            self._ask(following, Part(segments, part.tried))

    def _hedge(self, part: Part) -> None:
        """Ask other replicas for a part that takes long, where every segment of it has one and the budget allows."""
        pieces = None if part.settled else self._pieces(part, self._candidates.replica)
        if not pieces or not self._hedging.spend():
            return
        self.hedges += len(pieces)
        part.hedges = [Part(segments, part.tried, rival=part) for _, segments in pieces]
        for (node, _), hedge in zip(pieces, part.hedges, strict=True):
            self._ask(node, hedge)

    def _pieces(self, part: Part, choose: Next) -> list[tuple[Node, tuple[Segment, ...]]] | None:
        pieces: dict[str, tuple[Node, list[Segment]]] = {}
        for segment in part.segments:
            node = choose(segment, part.tried)
            if node is None:
                return None
            pieces.setdefault(node.name, (node, []))[1].append(segment)
        return [(node, tuple(segments)) for node, segments in pieces.values()]
