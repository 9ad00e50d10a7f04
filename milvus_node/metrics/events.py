"""What is added up while a node works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from milvus_node.metrics import declarations as declared
from mishards.logs.calls import Served
from mishards.metrics.ended import FOLDED_AT, EndedCalls, taken
from mishards.metrics.instruments import Counts, Durations
from mishards.wire.replies import METHODS

_STAGES: Final = ("wait", "check", "search")

_EndedCall = tuple[str, str, float, object, object, object]
"""Method, outcome, seconds; milliseconds of each stage of a search, None of another call."""


class Events(Collector):
    """Told of calls, loads, syncs and work in the background. Safe from any thread.

    Calls that end are only put down; they are added up when somebody looks, or when many have come together.
    """

    def __init__(self) -> None:
        self._calls = EndedCalls(declared.REQUESTS, declared.REQUEST_SECONDS, declared.STAGE_SECONDS, _STAGES)
        self._ended: deque[_EndedCall] = deque()
        self._loads = Durations(declared.LOAD_SECONDS)
        self._syncs = Durations(declared.WAL_SYNC_SECONDS)
        self._tasks = Durations(declared.TASK_SECONDS)
        self._failures = Counts(declared.TASK_FAILURES)

    def ended(self, served: Served) -> None:
        """A call has ended."""
        method, notes = served.call.method, served.call.notes
        if method not in METHODS:
            method = "unknown"
        noted = notes.get
        stages = (noted("wait_ms"), noted("check_ms"), noted("search_ms")) if "topk" in notes else (None, None, None)
        self._ended.append((method, served.outcome, served.seconds, *stages))
        if len(self._ended) >= FOLDED_AT:
            self._fold()

    def loaded(self, seconds: float) -> None:
        """A segment was read into memory."""
        self._loads.add(seconds)

    def synced(self, seconds: float) -> None:
        """The log was synced to disk."""
        self._syncs.add(seconds)

    def worked(self, task: str, seconds: float, done: bool) -> None:
        """A flush, merge, compaction or build has ended; ``done``: without an error."""
        self._tasks.add(seconds, task)
        if not done:
            self._failures.add(task)

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        self._fold()
        yield from self._calls.families()
        yield self._loads.family()
        for written in (self._syncs, self._tasks, self._failures):
            yield written.family()

    def _fold(self) -> None:
        ended = list(taken(self._ended))
        if ended:
            methods, outcomes, seconds, *stages = zip(*ended, strict=True)
            self._calls.add_all(methods, outcomes, seconds, stages)
