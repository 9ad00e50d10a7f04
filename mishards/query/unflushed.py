"""Which collections this router has written rows to that may not be in segments yet; session consistency needs it.

What came back from a write says nothing of the writable node's log. So a write only leaves a mark; the first look at
the growing rows after it tells how far the log had come, and once the catalog has come as far, the mark goes.

Belongs to the event loop.
"""

from __future__ import annotations

from typing import Final

from mishards.wire.scan import LENGTH_DELIMITED, Truncated, runs

_MOST: Final = 4096
"""Marks kept; beyond, those go first that were made first. A collection that does not exist may have one."""
_COLLECTION_NAME: Final = 1
"""Number of the field in ``InsertParam`` and ``DeleteByIDParam``."""


class Mark:
    """One write; ``head`` is a position in the log at or behind it, None as long as that is not known."""

    __slots__ = ("head",)

    def __init__(self) -> None:
        self.head: int | None = None


class Unflushed:
    """The newest mark of each collection."""

    def __init__(self) -> None:
        self._marks: dict[str, Mark] = {}

    def wrote(self, request: bytes) -> None:
        """Note that an encoded ``InsertParam`` or ``DeleteByIDParam`` has been sent, whatever became of it."""
        name = _collection_of(request)
        self._marks.pop(name, None)
        self._marks[name] = Mark()
        if len(self._marks) > _MOST:
            del self._marks[next(iter(self._marks))]

    def mark(self, collection: str, position: int) -> Mark | None:
        """What a catalog that has the collection flushed up to ``position`` may lack; None where it lacks nothing."""
        mark = self._marks.get(collection)
        if mark is not None and mark.head is not None and mark.head <= position:
            del self._marks[collection]
            return None
        return mark


def _collection_of(request: bytes) -> str:
    try:
        for run in runs(request, 0, len(request)):
            if run.number == _COLLECTION_NAME and run.wire_type == LENGTH_DELIMITED:
                return request[run.start : run.start + run.size].decode("utf-8", "replace")
    except Truncated:
        pass  # the writable node refuses it
    return ""
