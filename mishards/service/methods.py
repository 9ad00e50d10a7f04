"""The table of methods: which part of the router serves each RPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mishards.command.forward import Forwarder
from mishards.query.by_id import SearcherById
from mishards.query.lookup import Lookup
from mishards.query.search import Searcher
from mishards.query.snapshots import Snapshots
from mishards.query.warm import Warmer
from mishards.service.admission import CallClass
from mishards.service.commands import Commands
from mishards.service.dispatch import Entry, Serve
from mishards.transport.api import Call
from mishards.wire.describe import ANSWERS, Answer

_VISIBLE_WRITES = (
    "CreateCollection",
    "DropCollection",
    "CreateIndex",
    "DropIndex",
    "CreatePartition",
    "DropPartition",
    "Flush",
    "Compact",
)
"""Writes whose effect is visible when they return."""

_BUFFERED_WRITES = ("Insert", "DeleteByID")
"""Writes that are in segments at the next flush."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What serves the calls."""

    searcher: Searcher
    lookup: Lookup
    warmer: Warmer
    snapshots: Snapshots
    forwarder: Forwarder
    commands: Commands


def entries(parts: Parts) -> dict[str, Entry]:
    """Every method that the router serves."""
    table = {
        "Search": Entry(parts.searcher.search, CallClass.SEARCH, parts.searcher.begin),
        "SearchInFiles": Entry(parts.searcher.search_in_files, CallClass.SEARCH),
    }
    for method, answer in ANSWERS.items():
        table[method] = Entry(_from_catalog(answer, parts.snapshots), CallClass.INFO)
    table["SearchByID"] = Entry(SearcherById(parts.lookup.ask, parts.searcher.search).search, CallClass.SEARCH)
    table["PreloadCollection"] = Entry(parts.warmer.preload, CallClass.INFO)
    for method in ("ReleaseCollection", "ReloadSegments"):
        table[method] = Entry(parts.warmer.tell_all, CallClass.INFO)
    for method in ("GetVectorsByID", "GetVectorIDs"):
        table[method] = Entry(parts.lookup.ask, CallClass.INFO)
    for method in _VISIBLE_WRITES:
        table[method] = Entry(_noted(parts.forwarder.forward, parts.snapshots.wrote), CallClass.WRITE)
    for method in _BUFFERED_WRITES:
        table[method] = Entry(_marked(parts.forwarder.forward, parts.snapshots), CallClass.WRITE)
    table["Cmd"] = Entry(parts.commands.cmd, CallClass.INFO)
    return table


def _from_catalog(answer: Answer, snapshots: Snapshots) -> Serve:
    async def serve(call: Call) -> bytes:
        return answer(call.request, await snapshots.fresh(call.deadline))

    return serve


def _noted(serve: Callable[[Call], Awaitable[bytes]], wrote: Callable[[], None]) -> Serve:
    async def noted(call: Call) -> bytes:
        try:
            return await serve(call)
        finally:
            wrote()  # also after a failure: it may have been carried out

    return noted


def _marked(serve: Callable[[Call], Awaitable[bytes]], snapshots: Snapshots) -> Serve:
    async def marked(call: Call) -> bytes:
        try:
            return await serve(call)
        finally:
            snapshots.unflushed.wrote(call.request)  # also after a failure: it may have been carried out

    return marked
