"""Where the time of a traced call goes on this node: its wait, its check, its search, loads and encoding, as spans.

Stages are measured first and become spans when they are over, with the times at which they were. Calls that are not
traced cost one look at a variable; nothing here decides anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING

from mishards.catalog.snapshot import Segment
from mishards.tracing import spans
from mishards.transport.api import Call, Handler

if TYPE_CHECKING:
    from mishards.tracing.api import Span, Value

_NOTED = {"wait_ms": "queue_wait", "check_ms": "check", "work_ms": "work"}
"""The first stages of a call by the names of its notes, in their order."""

_loads: ContextVar[list[tuple[Segment, float, float]] | None] = ContextVar("milvus_node_loads", default=None)
"""Segments that this thread has loaded for the search under way: began and ended, in seconds since 1970."""


def staged(handler: Handler) -> Handler:
    """The handler; the stages that it notes become children of the call's span."""

    async def served(call: Call) -> bytes:
        span = spans.active()
        if span is None:
            return await handler(call)
        at = time.time()
        try:
            return await handler(call)
        finally:
            for note, name in _NOTED.items():
                milliseconds = call.notes.get(note)
                if isinstance(milliseconds, float):
                    spans.child_of(span, name, {}, at).finish(at + milliseconds / 1000)
                    at += milliseconds / 1000

    return served


class Waiting:
    """A traced search that waits to be done together with others, and since when."""

    __slots__ = ("since", "span")

    def __init__(self, span: Span, since: float) -> None:
        self.span = span
        self.since = since


def waiting() -> Waiting | None:
    """The search of this thread, which begins to wait; None where it is not traced."""
    span = spans.active()
    return None if span is None else Waiting(span, time.time())


def loaded(segment: Segment, seconds: float) -> None:
    """A segment has been loaded on this thread."""
    loads = _loads.get()
    if loads is not None:
        now = time.time()
        loads.append((segment, now - seconds, now))


class Together:
    """A block in which searches are done together; each that is traced gets the spans of all of it."""

    __slots__ = ("_batch", "_began", "_loads", "_segments", "_token", "_traced", "searched_at")

    def __init__(self, searches: Sequence[Waiting | None], segments: int) -> None:
        self._traced = [search for search in searches if search is not None]
        self._batch = len(searches)
        self._segments = segments
        self.searched_at = 0.0
        """When the results were found, in seconds since 1970; encoding follows."""

    def __enter__(self) -> Together:
        if self._traced:
            self._loads: list[tuple[Segment, float, float]] = []
            self._token = _loads.set(self._loads)
            self._began = time.time()
        return self

    def searched(self) -> None:
        """The results were found; the rest of the block encodes them."""
        if self._traced:
            self.searched_at = time.time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._traced:
            return
        _loads.reset(self._token)
        now = time.time()
        for search in self._traced:
            self._report(search, now, error)

    def _report(self, search: Waiting, now: float, error: BaseException | None) -> None:
        spans.child_of(search.span, "batch_wait", {}, search.since).finish(self._began)
        tags: dict[str, Value] = {"batch": self._batch, "segments": self._segments, "loads": len(self._loads)}
        span = spans.child_of(search.span, "search", tags, self._began)
        for segment, began, ended in self._loads:
            about: dict[str, Value] = {"file": segment.file.id, "rows": segment.rows}
            spans.child_of(span, "load", about, began).finish(ended)
        if error is not None:
            spans.fail(span, str(error), type(error).__name__)
        span.finish(self.searched_at or now)
        if self.searched_at:
            spans.child_of(search.span, "encode", {}, self.searched_at).finish(now)
