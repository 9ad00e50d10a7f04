"""A search: prepared, scattered over the nodes, merged.

The client's encoded request travels on untouched. A search never returns less than its snapshot holds: it is answered
over every segment, or it fails.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final

from mishards.catalog.snapshot import Snapshot
from mishards.cluster.node import passed_on
from mishards.deadline import Deadline
from mishards.errors import InvalidFileId, NodeFault, NodeUnavailable, NoSearchNode
from mishards.logs import notes
from mishards.query.answer import Answer, FaultyReply, RefusedByNode, StaleRoute, still_right
from mishards.query.at_once import AtOnce
from mishards.query.choice import Choice
from mishards.query.growing import GrowingSearch
from mishards.query.hedge import Hedging
from mishards.query.options import SearchOptions
from mishards.query.part import Candidates, Ended, Patience, Request
from mishards.query.plans import Plans
from mishards.query.prepare import Preparation, Wanted
from mishards.query.reload import Reloads
from mishards.query.scatter import Scatter
from mishards.query.share import Share
from mishards.query.snapshots import Snapshots
from mishards.tracing import spans
from mishards.transport.api import Call, GiveUp, Outcome, settling
from mishards.wire.merge import merge_results
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.results import encode_result
from mishards.wire.search import SearchEnvelope, SearchInFilesEnvelope

log = logging.getLogger(__name__)

PARTIAL_KEY: Final = "mishards-partial"
"""Initial metadata of a partial result: ``MISSING/ALL`` segments."""

_STALE_ROUNDS: Final = 4
"""How often a search looks again before it believes that a node is at fault."""


class Searcher:
    """Answers ``Search`` and ``SearchInFiles``. Belongs to the event loop."""

    def __init__(
        self,
        preparation: Preparation,
        snapshots: Snapshots,
        choice: Choice,
        hedging: Hedging,
        options: SearchOptions,
        patience: Patience,
    ) -> None:
        self._preparation = preparation
        self._snapshots = snapshots
        self._choice = choice
        self._hedging = hedging
        self._reloads = Reloads()
        self._options = options
        self._patience = patience
        self._growing = GrowingSearch(preparation, snapshots, preparation.leg, options)
        self._plans = Plans(preparation, snapshots, choice)

    def reconfigure(self, options: SearchOptions, patience: Patience) -> None:
        """Go by other options from now on, and all parts of a search with it."""
        self._options, self._patience = options, patience
        for part in (self._preparation, self._snapshots, self._growing):
            part.reconfigure(options)
        self._hedging.reconfigure(options.hedge)
        self._plans.clear()

    def begin(self, call: Call, outcome: Outcome) -> GiveUp | None:
        """Begin a ``Search`` for which everything is at hand; as ``Begin`` of the transport says."""
        began = time.perf_counter()
        found = self._plans.at_hand(call.request)
        return None if found is None else AtOnce(self, self._plans, found, call, outcome).begin(began)

    async def search(self, call: Call) -> bytes:
        """The encoded reply to an encoded ``SearchParam``."""
        return await self._reply(call, SearchEnvelope.scan(call.request), None)

    async def search_in_files(self, call: Call) -> bytes:
        """The encoded reply to an encoded ``SearchInFilesParam``; without file ids it searches everything."""
        envelope = SearchInFilesEnvelope.scan(call.request)
        if not all(text.isascii() and text.isdecimal() for text in envelope.file_ids):
            raise InvalidFileId("stoul")  # the protocol's text for an id that is no number
        return await self._reply(call, envelope.search, frozenset(map(int, envelope.file_ids)) or None)

    async def _reply(self, call: Call, envelope: SearchEnvelope, files: frozenset[int] | None) -> bytes:
        deadline = self.deadline(call)
        with notes.stage("get_routing"):
            wanted = await self._preparation.prepared(envelope, files, deadline)
        self._plans.keep(wanted)
        return await self._answer(wanted, call, deadline, None)

    def deadline(self, call: Call) -> Deadline:
        """When a search must have been answered."""
        return call.deadline.earlier(self._options.deadline_ms / 1000)

    async def go_on(self, wanted: Wanted, call: Call, deadline: Deadline, asked: Awaitable[list[Answer]]) -> bytes:
        """The reply to a search whose nodes have been asked already, whatever came of it."""
        notes.begin(call.notes)
        return await self._answer(wanted, call, deadline, asked)

    async def _answer(
        self, wanted: Wanted, call: Call, deadline: Deadline, asked: Awaitable[list[Answer]] | None
    ) -> bytes:
        async def segments(wanted: Wanted, answers: list[Answer]) -> tuple[Wanted, list[Answer]]:
            return await self._answered(wanted, answers, call, deadline)

        try:
            if wanted.growing:
                wanted, answers = await self._growing.answered(wanted, call, deadline, segments)
            else:
                wanted, answers = await self._answered(wanted, [], call, deadline, asked)
        except (RefusedByNode, FaultyReply) as verdict:
            return verdict.reply
        with notes.stage("do_merge"):
            merged = self.merged(wanted, call, answers)
            spans.tag(replies=len(answers), bytes_in=sum(len(a.reply) for a in answers), bytes_out=len(merged))
            return merged

    def merged(self, wanted: Wanted, call: Call, answers: Sequence[Answer]) -> bytes:
        """The reply that the answers come to. One of our own nodes alone has given it already.

        Raises:
            MalformedReply: an answer is none.
            NoSearchNode: no segment was answered.
        """
        if not answers:
            return encode_result(None)
        if len(answers) == 1 and not self._choice.is_lenient(answers[0].node):
            return answers[0].reply
        replies = [answer.reply for answer in answers]
        merged = merge_results(replies, wanted.envelope.topk, wanted.params.metric.larger_is_nearer)
        missing = sum(len(answer.segments) for answer in answers if not answer.node)
        return _marked(call, merged, missing, len(wanted.route.segments)) if missing else merged

    async def _answered(
        self,
        wanted: Wanted,
        answers: list[Answer],
        call: Call,
        deadline: Deadline,
        asked: Awaitable[list[Answer]] | None = None,
    ) -> tuple[Wanted, list[Answer]]:
        """Answers that cover every segment once, the given ones among them, and the search as it was when they did.

        ``asked`` are those who have been asked already.
        """
        waited_until = deadline.earlier(self._options.node_wait_ms / 1000)
        behind: list[str] = []
        while True:
            envelope = wanted.envelope
            request = self.request(envelope.raw, envelope.collection_name, wanted.snapshot, call, deadline)
            now, asked = asked or self._asked(wanted, answers, request, behind), None
            try:
                answers = [*answers, *await now]
            except StaleRoute as found:
                behind.append(found.node)
                if len(behind) > _STALE_ROUNDS:
                    raise NodeFault(found.node, f"it has not what the catalog has: {found.reason}") from found
                log.info("stale route node=%s reason=%r", found.node, found.reason)
                wanted = await self._anew(wanted, deadline)
                answers = still_right([*answers, *found.answers], wanted.route.segments)
            except (NodeUnavailable, NoSearchNode):
                if waited_until.remaining() <= 0:
                    raise
                notes.count(retries=1)
                await self._choice.wait_for_news(waited_until.earlier(0.2))
                wanted = self._preparation.renewed(wanted, wanted.snapshot)
            else:
                if not await self._outdated(wanted, answers, deadline):
                    return wanted, answers
                log.info("files vanished during a search, it goes on with a fresh snapshot")
                wanted = await self._anew(wanted, deadline)
                answers = still_right(answers, wanted.route.segments)

    async def _anew(self, wanted: Wanted, deadline: Deadline) -> Wanted:
        notes.count(retries=1)
        with notes.stage("get_routing"):
            return await self._preparation.anew(wanted, deadline)

    def request(self, param: bytes, name: str, snapshot: Snapshot, call: Call, deadline: Deadline) -> Request:
        """What nodes are asked for a call that searches a collection by an encoded ``SearchParam``."""
        ready = partial(self._reloads.ensure, snapshot.collection(name), deadline)
        return Request(param, deadline, passed_on(call.metadata), snapshot.revision, ready, call.node_calls)

    def scatter(self, request: Request, candidates: Candidates, ended: Ended) -> Scatter:
        """A fan-out that has not begun."""
        return Scatter(request, candidates, self._hedging, self._patience, ended)

    async def _asked(
        self, wanted: Wanted, answers: Sequence[Answer], request: Request, behind: Sequence[str]
    ) -> list[Answer]:
        avoid = frozenset(behind[1:])  # the first may have been right: it was the snapshot that was old
        done = {segment.segment_id for answer in answers for segment in answer.segments}
        shares = self._choice.first(wanted.route, avoid)
        if done:
            left = [(share.node, [s for s in share.segments if s.segment_id not in done]) for share in shares]
            shares = [Share.of(node, missing) for node, missing in left if missing]
        if not shares:
            return []
        waiting: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        candidates = Candidates(self._choice.following(wanted.route, avoid), self._choice.replica(wanted.route))
        scatter = self.scatter(request, candidates, settling(waiting))
        try:
            with notes.stage("do_search"):
                spans.tag(nodes=len(shares), stale=len(behind))
                scatter.begin(shares)
                return await waiting
        finally:
            scatter.give_up()
            notes.add(nodes=len(shares))
            notes.count(attempts=scatter.attempts, failovers=scatter.failovers, hedges=scatter.hedges)

    def is_outdated(self, version: int) -> bool:
        """Has the catalog changed since this version, so that the answers of a search must be looked at?"""
        current = self._snapshots.current
        return current is None or current.version != version

    async def _outdated(self, wanted: Wanted, answers: Sequence[Answer], deadline: Deadline) -> bool:
        """May a node have passed over a file without a word, because it vanished since the snapshot?

        A node that is strict would have said so. For the others the catalog is read once more, after they answered.
        It also tells whether rows were deleted meanwhile: such a node takes a file's width from the catalog and cuts
        its answer to it, although it still holds the deleted rows, so that live ones are missing.
        """
        if self._options.verify and any(self._choice.is_lenient(answer.node) for answer in answers):
            after = await self._snapshots.fresh(deadline)
        else:
            after = self._snapshots.current or wanted.snapshot
        if after.version == wanted.snapshot.version:
            return False
        known = after.segments_by_file
        return any(
            segment.file.id not in known
            or (self._choice.is_lenient(answer.node) and known[segment.file.id].rows != segment.rows)
            for answer in answers
            for segment in answer.segments
        )


def _marked(call: Call, reply: bytes, missing: int, segments: int) -> bytes:
    """A partial result that says so, in the reply's metadata and in the reason of its status.

    Raises:
        NoSearchNode: it would be empty.
    """
    if missing == segments:
        raise NoSearchNode(f"no node answered for any of {segments} segments")
    notes.add(missing=missing)
    call.reply_metadata.append((PARTIAL_KEY, f"{missing}/{segments}"))
    result = TopKQueryResult.FromString(reply)
    result.status.reason = f"partial: {missing} of {segments} segments could not be searched"
    return result.SerializeToString()
