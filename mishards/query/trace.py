"""What happened to the call under way, for its one line in the log.

A context variable carries it, so that no signature does. Whoever serves a call begins it; whoever knows something notes
it; nobody decides by it.
"""

from __future__ import annotations

from contextvars import ContextVar

_notes: ContextVar[dict[str, object] | None] = ContextVar("mishards_notes", default=None)


def begin() -> dict[str, object]:
    """Begin a call's notes; they are the caller's to read."""
    notes: dict[str, object] = {}
    _notes.set(notes)
    return notes


def note(**facts: object) -> None:
    """Add to the notes of the call under way; nothing where there is none."""
    notes = _notes.get()
    if notes is not None:
        notes.update(facts)
