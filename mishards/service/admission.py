"""How much may be under way at once: refused at once rather than collapsed under.

Searches, writes and the rest have limits of their own, so that slow inserts never starve a search. Belongs to the event
loop; pure otherwise.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mishards.errors import Overloaded
from mishards.options import about


class CallClass(str, enum.Enum):
    """Calls that compete with each other."""

    SEARCH = "search"
    WRITE = "write"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """Limits; 0 is none."""

    max_searches: int = field(default=1024, metadata=about("searches under way at once", minimum=0))
    max_writes: int = field(default=256, metadata=about("writes under way at once", minimum=0))
    max_infos: int = field(default=256, metadata=about("other calls under way at once", minimum=0))
    max_message_bytes: int = field(default=-1, metadata=about("largest request accepted; -1 is no limit", minimum=-1))


class Admission:
    """Counts calls under way."""

    def __init__(self, options: AdmissionOptions) -> None:
        self.reconfigure(options)
        self.under_way: Counter[CallClass] = Counter()
        self.refused: Counter[CallClass] = Counter()

    def reconfigure(self, options: AdmissionOptions) -> None:
        """Go by other limits from now on; calls under way go on."""
        self._limits = {
            CallClass.SEARCH: options.max_searches,
            CallClass.WRITE: options.max_writes,
            CallClass.INFO: options.max_infos,
        }

    @contextmanager
    def admitted(self, kind: CallClass) -> Iterator[None]:
        """Count a call for as long as it runs. Raises Overloaded when there are too many."""
        self.enter(kind)
        try:
            yield
        finally:
            self.leave(kind)

    def has_room(self, kind: CallClass) -> bool:
        """May one more call be served?"""
        limit = self._limits[kind]
        return not limit or self.under_way[kind] < limit

    def enter(self, kind: CallClass) -> None:
        """Count a call until it leaves. Raises Overloaded when there are too many."""
        if not self.has_room(kind):
            self.refused[kind] += 1
            limit = self._limits[kind]
            raise Overloaded(f"{limit} calls of class {kind.value} are under way, which is the limit; try again later")
        self.under_way[kind] += 1

    def leave(self, kind: CallClass) -> None:
        """A call has ended."""
        self.under_way[kind] -= 1
