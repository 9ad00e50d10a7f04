"""What happened around one fault, and whether it may have: pure, so that the judge can be judged.

Wrong answers and errors that declare nothing are faults at any time. While the fault lasts each kind of call is held
to what its row expects; once everything is back, every call must succeed. A floor under the completed calls keeps
"nothing happened" from passing.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from faults.fault_row import Expected, Fails, Works

from harness.resources import Allowance, Usage
from harness.traffic import SEARCH, Call, Outcome

FLOOR = 5
"""Of completed calls of each kind that must work: before, while the fault lasts, and after."""


@dataclass(frozen=True)
class Moments:
    """When what happened; seconds of ``time.monotonic``."""

    began: float
    struck: float
    healing: float
    """The fault began to be ended."""
    healed: float
    recovered: float
    """Everything was seen to be back."""
    ended: float


@dataclass(frozen=True)
class Happened:
    """All that was recorded around one fault."""

    moments: Moments
    calls: Sequence[Call]
    before: Mapping[str, Usage] = field(default_factory=dict)
    after: Mapping[str, Usage] = field(default_factory=dict)
    observed: Sequence[str] = ()
    """What the scenario itself found wrong."""

    def during(self, kind: str = "") -> list[Call]:
        """The calls that began while the fault lasted."""
        return self._between(self.moments.struck, self.moments.healing, kind)

    def steady(self, kind: str = "") -> list[Call]:
        """The calls that ended before the fault."""
        return [call for call in self._between(0, self.moments.struck, kind) if call.ended <= self.moments.struck]

    def afterwards(self, kind: str = "") -> list[Call]:
        """The calls that began when everything was back."""
        return self._between(self.moments.recovered, math.inf, kind)

    def _between(self, first: float, end: float, kind: str) -> list[Call]:
        return [call for call in self.calls if first <= call.began < end and kind in ("", call.kind)]


def longest_outage(calls: Sequence[Call], struck: float, recovered: float) -> float:
    """The longest time, from a fault until all was back, in which no search was answered rightly."""
    right = (call.ended for call in calls if call.kind == SEARCH and call.outcome is Outcome.RIGHT)
    ends = [struck, *sorted(end for end in right if struck <= end <= recovered), recovered]
    return max(later - sooner for sooner, later in itertools.pairwise(ends))


def allowance_of(program: str) -> Allowance:
    """By how much a program may hold more afterwards; a virtual machine has threads for whatever it is just then."""
    return Allowance(threads=24, descriptors=24) if program.startswith("zookeeper") else Allowance()


def excess(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> list[str]:
    """Which programs hold more afterwards than they may."""
    both = ((name, before[name], usage) for name, usage in after.items() if name in before)
    return [f"{name}: {more}" for name, was, now in both if (more := allowance_of(name).excess(was, now))]


def problems(expected: Expected, happened: Happened) -> list[str]:
    """What may not have happened; empty when all is well."""
    found = [*happened.observed, *_never(happened)]
    for kind, wanted in expected.items():
        during = happened.during(kind)
        if isinstance(wanted, Works):
            found += _works(kind, wanted, during)
        elif isinstance(wanted, Fails):
            found += _fails(kind, wanted, during, happened.moments)
        found += _works(f"{kind} before the fault", Works(), happened.steady(kind))
        found += _works(f"{kind} after the fault", Works(), happened.afterwards(kind))
    return found + excess(happened.before, happened.after)


def _never(happened: Happened) -> Iterator[str]:
    for outcome, what in ((Outcome.WRONG, "wrong answers"), (Outcome.ODD, "errors that declare nothing")):
        those = [
            f"{call.kind} {call.began - happened.moments.struck:+.1f} s: {call.detail}"
            for call in happened.calls
            if call.outcome is outcome
        ]
        if those:
            yield f"{len(those)} {what}, {_commonest(those)}"


def _works(kind: str, wanted: Works, calls: Sequence[Call]) -> Iterator[str]:
    right = [call for call in calls if call.outcome is Outcome.RIGHT]
    if len(right) < FLOOR:
        yield f"{kind}: only {len(right)} calls succeeded, the floor is {FLOOR}; {_errors(calls)}"
    elif len(right) < wanted.share * len(calls):
        yield f"{kind}: {len(right)} of {len(calls)} succeeded, expected {wanted.share:.1%}; {_errors(calls)}"
    at_once = sum(not call.failures for call in right)
    if right and at_once < wanted.at_once * len(calls):
        yield f"{kind}: {at_once} of {len(calls)} succeeded at once, expected {wanted.at_once:.1%}"


def _fails(kind: str, wanted: Fails, calls: Sequence[Call], moments: Moments) -> Iterator[str]:
    held = [call for call in calls if call.began >= moments.struck + wanted.after_s and call.ended <= moments.healing]
    right = sum(call.outcome is Outcome.RIGHT for call in held)
    if not held:
        yield f"{kind}: no call ended while the fault lasted"
    elif right:
        yield f"{kind}: {right} of {len(held)} succeeded, expected none"
    errors = [call.detail for call in held if call.outcome is Outcome.FAILED]
    other = [text for text in errors if not re.search(wanted.saying, text)]
    if other:
        yield f"{kind}: {len(other)} errors do not say {wanted.saying!r}, {_commonest(other)}"


def _errors(calls: Sequence[Call]) -> str:
    return _commonest([call.detail for call in calls if call.outcome is not Outcome.RIGHT]) or "no errors"


def _commonest(texts: Sequence[str]) -> str:
    return ", ".join(f"{times} x {text}" for text, times in Counter(texts).most_common(2))
