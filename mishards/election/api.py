"""What election plugins implement: at most one of several processes leads, and knows for how long it certainly does.

Knows nothing of what is led. The only promise is about time: while ``proven_until`` of one leadership lies ahead, no
other one begins. A process that sleeps past it has been succeeded and learns so by looking at the clock; what it wrote
without looking is for others to fence off.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Protocol

from mishards.errors import ElectionError


def clock() -> float:
    """Seconds on a clock that never goes back, and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who stands for election: a name, and where others reach it; both are for people and messages."""

    name: str
    address: str

    def __str__(self) -> str:
        return self.name if self.name == self.address else f"{self.name} at {self.address}"


@dataclass(frozen=True, slots=True)
class ElectionOptions:
    """How long a lease lasts, and how often it is renewed, in seconds.

    The backend may have bounds of its own; a lease lasts longer then, never shorter. ``same_host``: a holder whose
    process on this very machine is gone is succeeded at once (where the backend can tell).
    """

    lease_s: float = 3.0
    renew_s: float = 1.0
    same_host: bool = True


class Leadership(Protocol):
    """One term of leading. Safe from any thread."""

    @property
    def proven_until(self) -> float:
        """The time on ``clock`` until which certainly nobody else leads; rises with each renewal.

        Counted from before the renewal was sent, so an answer on its way promises nothing.
        """
        ...

    def wait_proven(self, timeout_s: float) -> bool:
        """Is it proven now? Where that is open, because renewals are late, wait for the answer at most so long."""
        ...

    def wait_lost(self, timeout_s: float) -> bool:
        """Wait until the leadership has certainly ended, but no longer than this; has it?"""
        ...

    def resign(self) -> None:
        """End it at once, so that another may lead; may be repeated, and raises nothing."""
        ...


class Elector(Protocol):
    """One candidate's way to leadership. One thread calls ``attempt`` and ``wait``; the rest is safe from any.

    1. While one leadership's ``proven_until`` lies ahead, no candidate's ``attempt`` returns another one.
    2. After ``resign``, or the death of the leader's process, some candidate that goes on trying leads within the
       backend's lease time and a second.
    3. While the backend cannot be reached a leadership ceases to be proven. It is lost once another one has begun, or
       could have; where neither has happened it goes on when the backend is back.
    4. After ``close`` nothing of the elector runs; what it led is resigned.
    """

    def attempt(self) -> Leadership | None:
        """Begin to lead, or return None while another one does.

        Raises:
            ElectionError: the backend does not answer; another attempt may succeed.
        """
        ...

    def wait(self, timeout_s: float) -> None:
        """Return when another attempt may succeed, but no later than this."""
        ...

    @property
    def leader(self) -> Candidate | None:
        """Who led when that was last looked at; None where nobody did."""
        ...

    def close(self) -> None:
        """Give everything up; may be repeated."""
        ...


class ElectionPlugin(Protocol):
    """The object that an entry point of the group ``mishards.election`` names."""

    def elector(self, uri: str, candidate: Candidate, options: ElectionOptions) -> Elector:
        """An elector for one candidate; nothing is connected yet. Raises PluginError when the URI cannot be used."""
        ...


def encode(candidate: Candidate, token: str = "") -> str:
    """The candidate as one line of JSON, as backends store it; ``token`` tells its leadership from any other."""
    return json.dumps({"name": candidate.name, "address": candidate.address, "token": token}, ensure_ascii=False)


def decode(text: str) -> Candidate | None:
    """Read what ``encode`` wrote; None for an empty text.

    Raises:
        ElectionError: it is something else.
    """
    if not text:
        return None
    try:
        fields = json.loads(text)
        return Candidate(str(fields["name"]), str(fields["address"]))
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise ElectionError(f"{text[:200]!r} is no record of a leader; is the place used by something else?") from error
