"""What is added up while a node works."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from milvus_node.metrics import declarations as declared
from mishards.logs.calls import Served
from mishards.metrics.instruments import Counts, Durations
from mishards.wire.replies import METHODS

_STAGES = ("wait", "check", "search")


class Events(Collector):
    """Told of calls, loads, syncs and work in the background. Safe from any thread."""

    def __init__(self) -> None:
        self._requests = Counts(declared.REQUESTS)
        self._seconds = Durations(declared.REQUEST_SECONDS)
        self._stages = Durations(declared.STAGE_SECONDS)
        self._stage = [(f"{stage}_ms", self._stages.of(stage)) for stage in _STAGES]
        self._loads = Durations(declared.LOAD_SECONDS)
        self._syncs = Durations(declared.WAL_SYNC_SECONDS)
        self._tasks = Durations(declared.TASK_SECONDS)
        self._failures = Counts(declared.TASK_FAILURES)

    def ended(self, served: Served) -> None:
        """A call has ended."""
        call = served.call
        method = call.method if call.method in METHODS else "unknown"
        self._requests.add(method, served.outcome)
        self._seconds.add(served.seconds, method)
        notes = call.notes
        if "topk" in notes:  # a search
            for key, buckets in self._stage:
                milliseconds = notes.get(key)
                if isinstance(milliseconds, float):
                    buckets.add(milliseconds / 1000)

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
        for each in (self._requests, self._seconds, self._stages, self._loads):
            yield each.family()
        for written in (self._syncs, self._tasks, self._failures):
            yield written.family()
