"""The slowest of recent searches, kept in memory for people to look at.

Pure but for what it remembers; knows no clock. Works whether calls are traced or not.
"""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mishards.logs.calls import Served
    from mishards.transport.api import NodeCall

SEARCHES: Final = frozenset({"Search", "SearchInFiles", "SearchByID"})
"""The methods looked at."""

_STAGE: Final = "_ms"
"""How the names of notes end that are times of stages."""


@dataclass(frozen=True, slots=True)
class SlowSearch:
    """A search that took long."""

    method: str
    request_id: str
    trace_id: str
    """In hexadecimal; empty where the search was not traced."""
    outcome: str
    """The name of the reply's code, or ``CANCELLED``."""
    ended_at: float
    """In seconds since 1970."""
    ms: float
    collection: str
    nq: int
    topk: int
    stages_ms: dict[str, float]
    """Milliseconds of each stage, all its times together."""
    node_calls: tuple[NodeCall, ...]
    """In the order in which they ended."""
    attempts: int
    retries: int
    failovers: int
    hedges: int


class _Kept(NamedTuple):
    seconds: float
    number: int
    """Orders equally slow searches, and keeps the search itself out of comparisons."""
    ended_at: float
    search: SlowSearch


class SlowSearches:
    """At most ``size`` searches: of those of the last ``window_s`` seconds the slowest. Belongs to one thread.

    A search that had no room when it ended does not come back when room is made.
    """

    def __init__(self, size: int = 50, window_s: float = 3600.0) -> None:
        self._size = size
        self._window_s = window_s
        self._kept: list[_Kept] = []
        self._numbers = itertools.count()
        self._expires = float("inf")

    def ended(self, served: Served) -> None:
        """Look at a call that has just ended."""
        if served.call.method in SEARCHES:
            self.offer(served, time.time())

    def offer(self, served: Served, now: float) -> bool:
        """Keep a search that ended ``now``, in seconds since 1970, if it is slow enough; was it kept?"""
        if now >= self._expires:
            self._forget(now)
        full = len(self._kept) >= self._size
        if full and served.seconds <= self._kept[0].seconds:
            return False
        kept = _Kept(served.seconds, next(self._numbers), now, _described(served, now))
        if full:
            heapq.heapreplace(self._kept, kept)
        else:
            heapq.heappush(self._kept, kept)
        self._expires = min(self._expires, now + self._window_s)
        return True

    def slowest(self, now: float) -> list[SlowSearch]:
        """The searches kept, the slowest first, of equals the older."""
        self._forget(now)
        return [kept.search for kept in sorted(self._kept, key=lambda kept: (-kept.seconds, kept.number))]

    def _forget(self, now: float) -> None:
        self._kept = [kept for kept in self._kept if kept.ended_at + self._window_s > now]
        heapq.heapify(self._kept)
        self._expires = min((kept.ended_at + self._window_s for kept in self._kept), default=float("inf"))


def _described(served: Served, now: float) -> SlowSearch:
    call = served.call
    notes = call.notes
    stages = {
        name.removesuffix(_STAGE): value
        for name, value in notes.items()
        if isinstance(value, float) and name.endswith(_STAGE)
    }
    return SlowSearch(
        method=call.method,
        request_id=served.request_id,
        trace_id=str(notes.get("trace_id", "")),
        outcome=served.outcome,
        ended_at=now,
        ms=served.seconds * 1000,
        collection=str(notes.get("collection", "")),
        stages_ms=stages,
        node_calls=tuple(call.node_calls),
        **{name: _number(notes.get(name)) for name in _NUMBERS},
    )


_NUMBERS: Final = ("nq", "topk", "attempts", "retries", "failovers", "hedges")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
