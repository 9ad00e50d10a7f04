"""Segments and growing rows of one search, fitted together so that every acknowledged row is in one of them, once.

Both are searched at once. They fit where the snapshot is no older than the catalog that the writable node knew, and
the collection is flushed in it up to exactly where the growing rows begin. Where the snapshot is behind, it is read
again, and only what it lacked is searched; where it is ahead, the growing rows are asked for again. Rows that were
deleted but are still in segments are only recognised, not left out: a search that meets one, or that does not come to
an end because the writable node flushes all the time, has it flush and goes on without growing rows.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from mishards.cluster.node import passed_on
from mishards.deadline import Deadline
from mishards.errors import CatalogError, CatalogUnavailable, ClusterError, DeadlineExceeded, MishardsError, NodeError
from mishards.logs import notes
from mishards.query.answer import Answer, StaleRoute, still_right
from mishards.query.options import Consistency, SearchOptions
from mishards.query.prepare import Preparation, Wanted
from mishards.query.snapshots import Snapshots
from mishards.query.unflushed import Mark
from mishards.query.writer import Growing, WriterLeg
from mishards.tracing import spans
from mishards.transport.api import Call
from mishards.wire.results import scan_result

log = logging.getLogger(__name__)

_ROUNDS = 4
"""How often growing rows are asked for before the writable node is made to flush."""

Segments = Callable[[Wanted, list[Answer]], Awaitable[tuple[Wanted, list[Answer]]]]
"""Searches the segments that the answers do not cover; returns the search as it was then, and all answers."""


class _WriterAway(Exception):
    """The growing rows cannot be had, and why."""

    def __init__(self, cause: MishardsError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class GrowingSearch:
    """Searches segments and growing rows."""

    def __init__(self, preparation: Preparation, snapshots: Snapshots, leg: WriterLeg, options: SearchOptions) -> None:
        self._preparation = preparation
        self._snapshots = snapshots
        self._leg = leg
        self._options = options

    def reconfigure(self, options: SearchOptions) -> None:
        """Go by other options from now on."""
        self._options = options

    async def answered(
        self, wanted: Wanted, call: Call, deadline: Deadline, segments: Segments
    ) -> tuple[Wanted, list[Answer]]:
        """Answers over every segment and every growing row, and the search as it was when they fitted.

        Only strong consistency insists on growing rows; for session consistency the segments do where they cannot be
        had, as an old snapshot does where the database is away.

        Raises:
            NodeError, ClusterError, CatalogError: the segments cannot be searched; or, for strong consistency, the
                growing rows cannot.
        """
        try:
            return await self._fitted(wanted, call, deadline, segments)
        except _WriterAway as away:
            if wanted.level is Consistency.STRONG:
                raise away.cause from away
            log.warning("searched without growing rows: %s", away)
            return await segments(wanted, [])

    async def _fitted(
        self, wanted: Wanted, call: Call, deadline: Deadline, segments: Segments
    ) -> tuple[Wanted, list[Answer]]:
        answers: list[Answer] = []
        growing: Growing | None = None
        for _ in range(_ROUNDS):
            if growing is not None and growing.cut.position == wanted.position:
                wanted, answers = await segments(wanted, answers)
            else:
                asking = asyncio.create_task(self._ask(wanted, call, deadline), name="search-growing")
                try:
                    wanted, answers = await segments(wanted, answers)
                    growing = await asking
                finally:
                    await _ended(asking)
            if growing is None or _is_behind(wanted, growing):
                wanted = await self._newer(wanted, growing, deadline)
                answers = still_right(answers, wanted.route.segments)
            elif growing.cut.position == wanted.position:
                if _found_any(answers, growing.cut.deleted):
                    break
                return wanted, [*answers, growing.answer]
        return await self._flushed(wanted, answers, deadline, segments)

    async def _ask(self, wanted: Wanted, call: Call, deadline: Deadline) -> Growing | None:
        """The growing rows for this snapshot; None where the writable node no longer knows the collection so."""
        name, metadata = wanted.envelope.collection_name, passed_on(call.metadata)
        mark: Mark | None = self._snapshots.unflushed.mark(name, wanted.position)
        ask = self._leg.growing
        if wanted.level is not Consistency.STRONG:
            ask, deadline = self._leg.growing_now, deadline.earlier(self._options.metadata_wait_ms / 1000)
        try:
            with _of_the_writer(), notes.stage("search_growing"):
                spans.tag(position=wanted.position)
                found = await ask(wanted.envelope.raw, wanted.position, spans.injected(metadata), deadline)
        except StaleRoute:
            return None
        if mark is not None:
            mark.head = found.cut.head
        notes.count(growing=1)
        return found

    async def _newer(self, wanted: Wanted, growing: Growing | None, deadline: Deadline) -> Wanted:
        renewed = await self._preparation.anew(wanted, deadline)
        if growing is not None and _is_behind(renewed, growing):
            raise _WriterAway(
                CatalogUnavailable(
                    f"the writable node is at revision {growing.cut.revision} of the metadata, "
                    f"and only revision {renewed.snapshot.revision} can be read now"
                )
            )
        return renewed

    async def _flushed(
        self, wanted: Wanted, answers: Sequence[Answer], deadline: Deadline, segments: Segments
    ) -> tuple[Wanted, list[Answer]]:
        """The search over segments alone, once everything that was acknowledged before is in them."""
        notes.count(flushes=1)
        with _of_the_writer(), notes.stage("flush"):
            await self._leg.flush([wanted.envelope.collection_name], deadline)
            snapshot = await self._snapshots.at(Consistency.STRONG, 0, deadline)
        wanted = self._preparation.renewed(wanted, snapshot)
        return await segments(wanted, still_right(answers, wanted.route.segments))


@contextmanager
def _of_the_writer() -> Iterator[None]:
    try:
        yield
    except (NodeError, ClusterError, CatalogError, DeadlineExceeded) as error:
        raise _WriterAway(error) from error


async def _ended(asking: asyncio.Task[Growing | None]) -> None:
    """Return once the call is over, whatever came of it."""
    asking.cancel()
    await asyncio.wait([asking])
    if not asking.cancelled():
        asking.exception()  # looked at, so that asyncio does not complain


def _is_behind(wanted: Wanted, growing: Growing) -> bool:
    """May the snapshot lack what the writable node knew to be in segments?"""
    cut = growing.cut
    return wanted.snapshot.revision < cut.revision or wanted.position < cut.position


def _found_any(answers: Sequence[Answer], ids: NDArray[np.int64]) -> bool:
    return bool(ids.size) and any(np.isin(scan_result(answer.reply).topk().ids, ids).any() for answer in answers)
