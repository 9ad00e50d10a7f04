"""What a router's metrics say about calls: added up as each one ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mishards.logs.calls import Served
from mishards.metrics import router as declared
from mishards.metrics.instruments import Counts, Durations
from mishards.wire.replies import METHODS

_STAGES = ("get_routing", "do_search", "do_merge")


class CallMetrics(Collector):
    """Told of the calls of clients and of those to nodes. Safe from any thread."""

    def __init__(self) -> None:
        self._requests = Counts(declared.REQUESTS)
        self._seconds = Durations(declared.REQUEST_SECONDS)
        self._stages = Durations(declared.STAGE_SECONDS)
        self._stage = [(f"{stage}_ms", self._stages.of(stage)) for stage in _STAGES]
        self._partial = Counts(declared.PARTIAL)
        self._events = {
            "retries": Counts(declared.RETRIES, "Search"),
            "failovers": Counts(declared.FAILOVERS, "Search"),
            "hedges": Counts(declared.HEDGES, "Search"),
        }
        self._nodes = Durations(declared.NODE_SECONDS)
        self.is_known: Callable[[str], bool] = lambda _: True
        """Is there still a node of this name? What others took is shown no more."""

    def ended(self, served: Served) -> None:
        """A call of a client has ended."""
        method = served.call.method if served.call.method in METHODS else "unknown"
        self._requests.add(method, served.outcome)
        self._seconds.add(served.seconds, method)
        notes = served.call.notes
        if not notes:
            return
        for key, buckets in self._stage:
            milliseconds = notes.get(key)
            if isinstance(milliseconds, float):
                buckets.add(milliseconds / 1000)
        for event, counts in self._events.items():
            number = notes.get(event)
            if number and isinstance(number, int):
                counts.add(method, amount=number)
        if "missing" in notes:
            self._partial.add()

    def called(self, node: str, method: str, seconds: float) -> None:
        """A node has answered a call."""
        self._nodes.add(seconds, node, method)

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        self._nodes.keep(lambda labels: self.is_known(labels[0]))
        for each in (self._requests, self._seconds, self._stages, self._partial, self._nodes):
            yield each.family()
        for counts in self._events.values():
            yield counts.family()
