"""Ask many nodes at once, each for its segments, until every segment is answered.

A part of a search is some segments and the nodes already asked for them. When a node breaks, faults or is found dead
while it is being waited for, the part goes on at the next candidates at once, in pieces where these differ. All under
one deadline. Nothing is left out: every segment is answered exactly once, or the whole fails.

Belongs to the event loop; one ``Scatter`` serves one attempt of one search.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import (
    MalformedReply,
    NodeError,
    NodeFault,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
)
from mishards.query.verdict import Verdict, judge
from mishards.transport.api import Metadata
from mishards.wire.extensions import REVISION, REVISION_KEY
from mishards.wire.replies import status_of
from mishards.wire.search import search_in_files

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """One node's encoded reply for some segments."""

    node: str
    segments: tuple[Segment, ...]
    reply: bytes


class StaleRoute(Exception):
    """A node no longer has what the snapshot promised, or not yet; ``answers`` are those that came nevertheless."""

    def __init__(self, answers: list[Answer], node: str, reason: str) -> None:
        super().__init__(reason)
        self.answers = answers
        self.node = node
        self.reason = reason


class RefusedByNode(Exception):
    """A node found fault with the request; ``reply`` says so to the client in the node's words."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("refused")
        self.reply = reply


class FaultyReply(NodeFault):
    """A node answered a status that says it is at fault; ``reply`` is what it said."""

    def __init__(self, address: str, reason: str, reply: bytes) -> None:
        super().__init__(address, reason)
        self.reply = reply


@dataclass(slots=True)
class Part:
    """Segments that are asked of the same node, and the names of the nodes asked so far."""

    segments: tuple[Segment, ...]
    tried: tuple[str, ...] = ()


Next = Callable[[Segment, tuple[str, ...]], "Node | None"]
"""The node to ask for a segment, given the names of those already tried; None when there is no other."""


@dataclass(frozen=True, slots=True)
class Request:
    """What every node is asked: the client's own encoded ``SearchParam``, under one deadline."""

    param: bytes
    deadline: Deadline
    metadata: Metadata
    patience_s: float


class Scatter:
    """One fan-out. ``attempts`` counts the calls made."""

    def __init__(self, request: Request, revision: int, next_node: Next) -> None:
        """``revision`` is that of the snapshot which names the segments."""
        self._request = request
        self._revision = revision
        self._next = next_node
        self._answers: list[Answer] = []
        self._calls: set[asyncio.Task[bytes]] = set()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts = 0

    async def run(self, parts: Sequence[tuple[Node, tuple[Segment, ...]]]) -> list[Answer]:
        """Ask, and return the answers, which cover every segment once.

        Raises:
            StaleRoute: a node does not have a file it was asked for.
            RefusedByNode: a node found fault with the request.
            NodeError: the last failure for some segment, when nobody is left to ask.
            DeadlineExceeded: time ran out.
        """
        self._request.deadline.check("the search was sent to nodes")
        for node, segments in parts:
            self._ask(node, Part(segments))
        try:
            await self._done
        finally:
            for call in self._calls:
                call.cancel()
        return self._answers

    def _ask(self, node: Node, part: Part) -> None:
        loop = asyncio.get_running_loop()
        request = self._request
        self.attempts += 1
        body = search_in_files([segment.file.id for segment in part.segments], request.param)
        metadata = request.metadata
        if REVISION in node.capabilities:
            metadata = (*metadata, (REVISION_KEY, str(self._revision)))
        call = loop.create_task(
            node.call("SearchInFiles", body, deadline=request.deadline, metadata=metadata),
            name=f"search-{node.name}",
        )
        self._calls.add(call)
        part.tried += (node.name,)
        watch = _Watch(node, call, request.patience_s)
        call.add_done_callback(partial(self._answered, node, part, watch))

    def _answered(self, node: Node, part: Part, watch: _Watch, call: asyncio.Task[bytes]) -> None:
        watch.stop()
        self._calls.discard(call)
        if self._done.done():
            if not call.cancelled():
                call.exception()
            return
        try:
            reply = self._reply_of(node, watch, call)
        except (StaleRoute, RefusedByNode, NodeRejected, NodeTimeout) as error:
            self._done.set_exception(error)
        except NodeError as error:
            self._go_on(node, part, error)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: whoever waits for the search gets it
            self._done.set_exception(error)
        else:
            self._answers.append(Answer(node.name, part.segments, reply))
            if not self._calls:
                self._done.set_result(None)

    def _reply_of(self, node: Node, watch: _Watch, call: asyncio.Task[bytes]) -> bytes:
        address = node.record.address
        if call.cancelled():
            raise NodeUnavailable(address, "it answers neither the search nor a probe" if watch.dead else "cancelled")
        failure = call.exception()
        if failure is not None:
            raise failure
        reply = call.result()
        try:
            code, reason = status_of("SearchInFiles", reply)
        except MalformedReply as error:
            node.faulted(str(error))
            raise NodeFault(address, f"its reply is no message: {error}") from error
        verdict = judge(code, reason)
        if verdict is Verdict.REFUSED:
            raise RefusedByNode(reply)
        if verdict is Verdict.STALE:
            raise StaleRoute(self._answers, node.name, reason)
        if verdict is Verdict.FAULT:
            node.faulted(reason)
            raise FaultyReply(address, reason, reply)
        node.answered()
        return reply

    def _go_on(self, node: Node, part: Part, error: NodeError) -> None:
        """Ask the next candidates for what ``node`` did not answer."""
        pieces: dict[str, tuple[Node, list[Segment]]] = {}
        for segment in part.segments:
            following = self._next(segment, part.tried)
            if following is None:
                self._done.set_exception(error)
                return
            pieces.setdefault(following.name, (following, []))[1].append(segment)
        log.warning(
            "failover from=%s to=%s segments=%d error=%s", node.name, ",".join(pieces), len(part.segments), error
        )
        for following, segments in pieces.values():
            self._ask(following, Part(tuple(segments), part.tried))


class _Watch:
    """Probes a node that takes long to answer, and cancels the call when the node is dead."""

    def __init__(self, node: Node, call: asyncio.Task[bytes], patience_s: float) -> None:
        self._node = node
        self._call = call
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(patience_s, self._ask)
        self.dead = False

    def stop(self) -> None:
        """The call has ended."""
        self._timer.cancel()

    def _ask(self) -> None:
        self._node.probe().add_done_callback(self._told)

    def _told(self, probe: asyncio.Task[bool]) -> None:
        if self._call.done():
            return
        if probe.cancelled() or probe.result():
            self._timer = self._loop.call_later(self._patience_s, self._ask)
            return
        self.dead = True
        self._node.broke("it answers neither a search nor a probe")
        self._call.cancel()
