"""A search: envelope → snapshot → route → scatter → merge.

The client's encoded request travels on untouched; only its envelope is read here. The checks and their order are those
of a node, so that a refusal reads the same wherever it happens. A search never returns less than its snapshot holds: it
is answered over every segment, or it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.cluster.node import passed_on
from mishards.deadline import Deadline
from mishards.errors import CollectionNotFound, NodeFault, NodeUnavailable, NoSearchNode, PartitionError
from mishards.query.choice import Choice
from mishards.query.options import Consistency, SearchOptions
from mishards.query.route import Route, Routes
from mishards.query.scatter import Answer, FaultyReply, RefusedByNode, Request, Scatter, StaleRoute
from mishards.query.snapshots import Snapshots
from mishards.transport.api import Call
from mishards.wire.limits import check_search_files, check_topk
from mishards.wire.merge import merge_results
from mishards.wire.names import check_collection_name, check_partition_tag
from mishards.wire.params import SearchParams, search_params
from mishards.wire.results import encode_result
from mishards.wire.search import SearchEnvelope
from mishards.wire.vectors import vector_rows

log = logging.getLogger(__name__)

_STALE_ROUNDS = 4
"""How often a search looks again before it believes that a node is at fault."""

_cached_params = lru_cache(maxsize=1024)(search_params)
"""Clients send the same few texts again and again. Errors are not kept."""

Flush = Callable[[list[str], Deadline], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search whose request has been checked, on the snapshot that it works on."""

    envelope: SearchEnvelope
    params: SearchParams
    snapshot: Snapshot
    collection: Collection
    route: Route


class Searcher:
    """Answers ``Search``. Belongs to the event loop."""

    def __init__(
        self,
        snapshots: Snapshots,
        routes: Routes,
        choice: Choice,
        flush: Flush,
        options: SearchOptions,
        patience_s: float,
    ) -> None:
        self._snapshots = snapshots
        self._routes = routes
        self._choice = choice
        self._flush = flush
        self._options = options
        self._patience_s = patience_s

    async def search(self, call: Call) -> bytes:
        """The encoded reply to an encoded ``SearchParam``."""
        envelope = SearchEnvelope.scan(call.request)
        check_collection_name(envelope.collection_name)
        check_topk(envelope.topk)
        for tag in envelope.partition_tags:
            check_partition_tag(tag)
        deadline = call.deadline.earlier(self._options.deadline_ms / 1000)
        request = Request(call.request, deadline, passed_on(call.metadata), self._patience_s)
        wanted = await self._prepared(envelope, deadline)
        try:
            answers = await self._answered(wanted, request)
        except RefusedByNode as refusal:
            return refusal.reply
        except FaultyReply as fault:
            return fault.reply
        return self._merged(wanted, answers)

    async def _prepared(self, envelope: SearchEnvelope, deadline: Deadline) -> Wanted:
        """Check the request on a snapshot; one that seems to lack what is asked for is read anew once."""
        options = self._options
        level = Consistency.EVENTUALLY if options.consistency is Consistency.STRONG else options.consistency
        snapshot = await self._snapshots.at(level, options.graceful_time_ms, deadline)
        try:
            return await self._on(snapshot, envelope, deadline)
        except (CollectionNotFound, PartitionError):
            newer = await self._snapshots.fresh(deadline)
            if newer.version == snapshot.version:
                raise
            return await self._on(newer, envelope, deadline)

    async def _on(self, snapshot: Snapshot, envelope: SearchEnvelope, deadline: Deadline) -> Wanted:
        params = _params(envelope, snapshot.collection(envelope.collection_name))
        level, graceful = self._level(params)
        if level is Consistency.STRONG:
            await self._flush([envelope.collection_name], deadline)
        if level is Consistency.STRONG or params.consistency_level or params.graceful_time_ms is not None:
            snapshot = await self._snapshots.at(level, graceful, deadline)
        return self._routed(snapshot, envelope)

    def _level(self, params: SearchParams) -> tuple[Consistency, int]:
        level, graceful = params.consistency_level, params.graceful_time_ms
        return (
            Consistency(level.lower()) if level else self._options.consistency,
            self._options.graceful_time_ms if graceful is None else graceful,
        )

    def _routed(self, snapshot: Snapshot, envelope: SearchEnvelope) -> Wanted:
        collection = snapshot.collection(envelope.collection_name)
        params = _params(envelope, collection)
        owners = self._choice.owners()
        try:
            route = self._routes.route(snapshot, collection, envelope.partition_tags, owners)
        except PartitionError:
            vector_rows(envelope.rows, collection.dimension, collection.metric)
            raise
        if not route.segments:
            vector_rows(envelope.rows, collection.dimension, collection.metric)
        check_search_files(len(route.segments))
        return Wanted(envelope, params, snapshot, collection, route)

    async def _answered(self, wanted: Wanted, request: Request) -> list[Answer]:
        """Answers that cover every segment once."""
        answers: list[Answer] = []
        waited_until = request.deadline.earlier(self._options.node_wait_ms / 1000)
        behind: list[str] = []
        while True:
            try:
                answers += await self._asked(wanted, answers, request, frozenset(behind[1:]))
            except StaleRoute as found:
                behind.append(found.node)
                if len(behind) > _STALE_ROUNDS:
                    raise NodeFault(found.node, f"it has not what the catalog has: {found.reason}") from found
                answers += found.answers
                log.info("stale route node=%s reason=%r", found.node, found.reason)
                wanted = self._routed(await self._snapshots.fresh(request.deadline), wanted.envelope)
                answers = _still_right(answers, wanted.route.segments)
            except (NodeUnavailable, NoSearchNode):
                if waited_until.remaining() <= 0:
                    raise
                await self._choice.wait_for_news(waited_until.earlier(0.2))
                wanted = self._routed(wanted.snapshot, wanted.envelope)
            else:
                if not self._outdated(wanted, answers):
                    return answers
                wanted = self._routed(await self._snapshots.fresh(request.deadline), wanted.envelope)
                answers = _still_right(answers, wanted.route.segments)

    async def _asked(
        self, wanted: Wanted, answers: Sequence[Answer], request: Request, avoid: frozenset[str]
    ) -> list[Answer]:
        done = {segment.segment_id for answer in answers for segment in answer.segments}
        parts = []
        for node, segments in self._choice.first(wanted.route, avoid):
            missing = tuple(s for s in segments if s.segment_id not in done) if done else segments
            if missing:
                parts.append((node, missing))
        if not parts:
            return []
        following = self._choice.following(wanted.route, avoid)
        return await Scatter(request, wanted.snapshot.revision, following).run(parts)

    def _outdated(self, wanted: Wanted, answers: Sequence[Answer]) -> bool:
        """Has a newer snapshot lost a file that was searched? A node may have passed over it without a word."""
        current = self._snapshots.current
        if current is None or current.version == wanted.snapshot.version:
            return False
        known = current.segments_by_file
        return any(segment.file.id not in known for answer in answers for segment in answer.segments)

    def _merged(self, wanted: Wanted, answers: Sequence[Answer]) -> bytes:
        if not answers:
            return encode_result(None)
        replies = [answer.reply for answer in answers]
        return merge_results(replies, wanted.envelope.topk, wanted.params.metric.larger_is_nearer)


def _params(envelope: SearchEnvelope, collection: Collection) -> SearchParams:
    index_type = collection.index_type.on_the_wire
    return _cached_params(index_type, collection.metric, envelope.topk, envelope.params)


def _still_right(answers: Sequence[Answer], segments: Sequence[Segment]) -> list[Answer]:
    """The answers all of whose segments are still there, in the same version."""
    there = {(segment.segment_id, segment.version) for segment in segments}
    return [answer for answer in answers if all((s.segment_id, s.version) in there for s in answer.segments)]
