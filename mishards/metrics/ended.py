"""Calls that have ended, as routers and nodes show them alike: put down one by one, added up many at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from prometheus_client.core import Metric as Family

from mishards.metrics.declare import Metric
from mishards.metrics.instruments import Counts, Durations

T = TypeVar("T")

FOLDED_AT: Final = 1024
"""As many that were put down are added up, though nobody looks."""


class EndedCalls:
    """How many calls, how long each took, and each stage of it. Safe from any thread."""

    def __init__(self, requests: Metric, seconds: Metric, stage_seconds: Metric, stages: Sequence[str]) -> None:
        """``requests`` is labelled by method and outcome, ``seconds`` by method, ``stage_seconds`` by stage."""
        self._requests = Counts(requests)
        self._seconds = Durations(seconds)
        self._stages = Durations(stage_seconds)
        self._stage = [self._stages.of(stage) for stage in stages]

    def add_all(
        self,
        methods: Sequence[str],
        outcomes: Sequence[str],
        seconds: Sequence[float],
        stages: Sequence[Sequence[object]],
    ) -> None:
        """Add one entry a call; ``stages`` has a column a stage: milliseconds, or no number where there was none."""
        for labels, number in Counter(zip(methods, outcomes, strict=True)).items():
            self._requests.add(*labels, amount=number)
        for method in set(methods):
            self._seconds.of(method).add_all([s for s, m in zip(seconds, methods, strict=True) if m == method])
        for buckets, column in zip(self._stage, stages, strict=True):
            buckets.add_all([ms / 1000 for ms in column if isinstance(ms, float)])

    def families(self) -> Iterator[Family]:
        """What is shown."""
        for each in (self._requests, self._seconds, self._stages):
            yield each.family()


def taken(put_down: deque[T]) -> Iterator[T]:
    """What was put down, taken out one by one, so that two threads that add up at once share it."""
    with suppress(IndexError):
        while True:
            yield put_down.popleft()
