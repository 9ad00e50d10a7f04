"""A search for which everything is at hand: begun where it arrives, ended where the last node's answer does.

There is no task and no waiting. What does not go so smoothly, a stale route, nobody left to ask, a catalog that changed
meanwhile, goes on as a task of the ``Searcher``, with what has been found out.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from mishards.catalog.snapshot import Snapshot
from mishards.deadline import Deadline
from mishards.errors import MishardsError
from mishards.query.answer import Answer, FaultyReply, RefusedByNode
from mishards.query.part import Candidates, Ended, Request
from mishards.query.plans import AtHand, Plans
from mishards.query.prepare import Wanted
from mishards.query.scatter import Scatter
from mishards.query.share import Share
from mishards.transport.api import Call, GiveUp, Outcome, settling

log = logging.getLogger(__name__)


class Searching(Protocol):
    """What a search is done with, on this way as on the usual one."""

    def deadline(self, call: Call) -> Deadline:
        """When a search must have been answered."""
        ...

    def request(self, param: bytes, name: str, snapshot: Snapshot, call: Call, deadline: Deadline) -> Request:
        """What nodes are asked."""
        ...

    def scatter(self, request: Request, candidates: Candidates, ended: Ended) -> Scatter:
        """A fan-out that has not begun."""
        ...

    def is_outdated(self, version: int) -> bool:
        """Must the answers of a search on this version of the catalog be looked at?"""
        ...

    def merged(self, wanted: Wanted, call: Call, answers: Sequence[Answer]) -> bytes:
        """The reply that the answers come to. Raises MishardsError."""
        ...

    async def go_on(self, wanted: Wanted, call: Call, deadline: Deadline, asked: Awaitable[list[Answer]]) -> bytes:
        """The reply to a search whose nodes have been asked already, whatever came of it. Raises MishardsError."""
        ...


class AtOnce:
    """One search."""

    __slots__ = (
        "_began",
        "_call",
        "_deadline",
        "_found",
        "_outcome",
        "_plans",
        "_scatter",
        "_searcher",
        "_shares",
        "_task",
    )

    def __init__(self, searcher: Searching, plans: Plans, found: AtHand, call: Call, outcome: Outcome) -> None:
        self._searcher = searcher
        self._plans = plans
        self._found = found
        self._call = call
        self._outcome = outcome
        self._task: asyncio.Task[None] | None = None

    def begin(self, began: float) -> GiveUp | None:
        """Ask the nodes; None, with nothing done, where that cannot be done at once."""
        searcher, call, found = self._searcher, self._call, self._found
        plan, snapshot = found.plan, found.snapshot
        wanted, deadline = plan.wanted, searcher.deadline(call)
        name = wanted.envelope.collection_name
        self._deadline = deadline
        try:
            shares = self._shares = self._plans.shares(plan)
            request = searcher.request(call.request, name, snapshot, call, deadline)
            scatter = self._scatter = searcher.scatter(request, plan.candidates, self._ended)
            self._began = time.perf_counter()
            self._ask(scatter, shares)
        except MishardsError:  # no node, no time: the usual way says so
            return None
        call.notes.update(
            collection=name,
            nq=found.nq,
            topk=wanted.envelope.topk,
            retries=0,
            segments=len(wanted.route.segments),
            snapshot=snapshot.version,
            get_routing_ms=(self._began - began) * 1000,
        )
        return self._give_up

    def _ask(self, scatter: Scatter, shares: Sequence[Share]) -> None:
        try:
            scatter.begin(shares)
        except BaseException:  # whatever it is, the usual way begins anew
            scatter.give_up()
            raise

    def _give_up(self) -> None:
        self._scatter.give_up()
        if self._task is not None:
            self._task.cancel()

    def _ended(self, answers: list[Answer], error: Exception | None) -> None:
        scatter, call, now = self._scatter, self._call, time.perf_counter()
        call.notes.update(
            nodes=len(self._shares),
            attempts=scatter.attempts,
            failovers=scatter.failovers,
            hedges=scatter.hedges,
            do_search_ms=(now - self._began) * 1000,
        )
        if error is None and not self._searcher.is_outdated(self._found.snapshot.version):
            self._merge(answers, now)
        elif isinstance(error, RefusedByNode | FaultyReply):
            self._outcome(error.reply, None)
        else:
            self._go_on(answers, error)

    def _merge(self, answers: list[Answer], began: float) -> None:
        try:
            merged = self._searcher.merged(self._found.plan.wanted, self._call, answers)
        except MishardsError as error:
            self._outcome(b"", error)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: a bug must answer, too
            self._broken(error)
        else:
            self._call.notes["do_merge_ms"] = (time.perf_counter() - began) * 1000
            self._outcome(merged, None)

    def _go_on(self, answers: list[Answer], error: Exception | None) -> None:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[Answer]] = loop.create_future()
        settling(asked)(answers, error)
        wanted = self._found.plan.for_request(self._call.request, self._found.snapshot)
        going_on = self._searcher.go_on(wanted, self._call, self._deadline, asked)
        self._task = loop.create_task(self._told(going_on), name="search-goes-on")

    async def _told(self, reply: Awaitable[bytes]) -> None:
        """Tell the outcome of what goes on as a task."""
        try:
            merged = await reply
        except MishardsError as error:
            self._outcome(b"", error)
        except Exception as error:  # noqa: BLE001 - the top of a task
            self._broken(error)
        else:
            self._outcome(merged, None)

    def _broken(self, error: Exception) -> None:
        log.error("a search failed in a way that is a bug", exc_info=error)
        self._outcome(b"", MishardsError(f"internal error: {error}"))
