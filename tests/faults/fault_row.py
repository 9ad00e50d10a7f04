"""A row of the table of faults: what is done, what must go on meanwhile, and what must fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.traffic import DELETE, INSERT, SEARCH, STRONG

if TYPE_CHECKING:
    from faults.fault_stage import Stage


@dataclass(frozen=True)
class Works:
    """Calls succeed while the fault lasts.

    ``share`` of them must be answered rightly in the end, ``at_once`` of them without a repetition.
    """

    share: float = 1.0
    at_once: float = 0.0


@dataclass(frozen=True)
class Fails:
    """Calls fail while the fault lasts, each with a declared error; those that began before ``after_s`` may succeed.

    ``saying`` is a pattern that the text of every such error matches.
    """

    saying: str
    after_s: float = 0.0


@dataclass(frozen=True)
class May:
    """Calls may succeed or fail with a declared error."""


Expected = Mapping[str, Works | Fails | May]
ALL_WORK: Expected = {SEARCH: Works(at_once=1.0), STRONG: Works(), INSERT: Works(), DELETE: Works()}


@dataclass(frozen=True)
class Row:
    """One fault. ``bring`` is a context: it brings the fault, and ends it; it may check more meanwhile.

    ``bring`` is told for how many seconds the fault shall last; what takes its own time it does before it yields.
    """

    number: int
    name: str
    bring: Callable[[Stage, float], AbstractContextManager[None]]
    short_s: float
    long_s: float
    expected: Expected = field(default_factory=lambda: ALL_WORK)
    missing: Callable[[], str] = lambda: ""
    """What this machine lacks for it, or nothing."""
