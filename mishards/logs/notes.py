"""What happened to the call under way, for its one line in the log and for the metrics.

A context variable carries it, so that no signature does. Whoever serves a call begins it; whoever knows something notes
it; nobody decides by it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from types import TracebackType

from mishards.tracing import spans

_notes: ContextVar[dict[str, object] | None] = ContextVar("mishards_notes", default=None)


def begin(notes: dict[str, object]) -> None:
    """Begin to note down in ``notes`` what happens to the call under way."""
    _notes.set(notes)


def add(**facts: object) -> None:
    """Add to the notes of the call under way; nothing where there is none."""
    notes = _notes.get()
    if notes is not None:
        notes.update(facts)


def count(**events: int) -> None:
    """Add to the counts among the notes of the call under way; nothing where there is none."""
    notes = _notes.get()
    if notes is not None:
        for name, number in events.items():
            before = notes.get(name, 0)
            notes[name] = before + number if isinstance(before, int) else number


def stage(name: str) -> _Stage:
    """Measure a block as a stage of the call under way: its milliseconds are noted, added up over all its blocks.

    Where the call is traced, the block is a span.
    """
    return _Stage(name)


class _Stage:
    __slots__ = ("_began", "_name", "_within")

    def __init__(self, name: str) -> None:
        self._name = name
        self._within: spans.within | None = None

    def __enter__(self) -> None:
        if spans.active() is not None:
            self._within = spans.within(self._name)
            self._within.__enter__()
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._within is not None:
            self._within.__exit__(kind, error, traceback)
        notes = _notes.get()
        if notes is not None:
            key, milliseconds = f"{self._name}_ms", (time.perf_counter() - self._began) * 1000
            before = notes.get(key)
            notes[key] = milliseconds + before if isinstance(before, float) else milliseconds
