"""What happened to the call under way, for its one line in the log and for the metrics.

A context variable carries it, so that no signature does. Whoever serves a call begins it; whoever knows something notes
it; nobody decides by it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

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
    """Measure a block as a stage of the call under way: its milliseconds are noted, added up over all its blocks."""
    return _Stage(f"{name}_ms")


class _Stage:
    __slots__ = ("_began", "_key")

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        notes = _notes.get()
        if notes is not None:
            milliseconds, before = (time.perf_counter() - self._began) * 1000, notes.get(self._key)
            notes[self._key] = milliseconds + before if isinstance(before, float) else milliseconds
