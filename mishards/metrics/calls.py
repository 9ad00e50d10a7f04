"""What a router's metrics say about calls: added up as each one ends."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mishards.logs.calls import Served
from mishards.metrics import router as declared
from mishards.metrics.ended import FOLDED_AT, EndedCalls, taken
from mishards.metrics.instruments import Counts, Durations
from mishards.wire.replies import METHODS

_STAGES: Final = ("get_routing", "do_search", "do_merge")


_EndedCall = tuple[str, str, float, object, object, object, object, object, object, bool]
"""Method, outcome, seconds; milliseconds of each stage; how many of each event; is its result partial?"""


class CallMetrics(Collector):
    """Told of the calls of clients and of those to nodes. Safe from any thread.

    What ends is only put down; it is added up when somebody looks, or when much has come together.
    """

    def __init__(self) -> None:
        self._calls = EndedCalls(declared.REQUESTS, declared.REQUEST_SECONDS, declared.STAGE_SECONDS, _STAGES)
        self._partial = Counts(declared.PARTIAL)
        declarations = (declared.RETRIES, declared.FAILOVERS, declared.HEDGES)
        self._events = [Counts(declaration, "Search") for declaration in declarations]
        self._nodes = Durations(declared.NODE_SECONDS)
        self._ended: deque[_EndedCall] = deque()
        self._called: deque[tuple[str, str, float]] = deque()
        self.is_known: Callable[[str], bool] = lambda _: True
        """Is there still a node of this name? What others took is shown no more."""

    def ended(self, served: Served) -> None:
        """A call of a client has ended."""
        method, noted = served.call.method, served.call.notes.get
        if method not in METHODS:
            method = "unknown"
        self._ended.append(
            (
                method,
                served.outcome,
                served.seconds,
                noted("get_routing_ms"),
                noted("do_search_ms"),
                noted("do_merge_ms"),
                noted("retries"),
                noted("failovers"),
                noted("hedges"),
                noted("missing") is not None,
            )
        )
        if len(self._ended) >= FOLDED_AT:
            self._fold()

    def called(self, node: str, method: str, seconds: float) -> None:
        """A node has answered a call."""
        self._called.append((node, method, seconds))
        if len(self._called) >= FOLDED_AT:
            self._fold()

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        self._fold()
        self._nodes.keep(lambda labels: self.is_known(labels[0]))
        yield from self._calls.families()
        yield self._partial.family()
        yield self._nodes.family()
        for counts in self._events:
            yield counts.family()

    def _fold(self) -> None:
        ended = list(taken(self._ended))
        if ended:
            self._fold_ended(ended)
        nodes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for node, method, took in taken(self._called):
            nodes[node, method].append(took)
        for (node, method), values in nodes.items():
            self._nodes.of(node, method).add_all(values)

    def _fold_ended(self, ended: list[_EndedCall]) -> None:
        methods, outcomes, seconds, routing, search, merge, *events, partial = zip(*ended, strict=True)
        self._calls.add_all(methods, outcomes, seconds, (routing, search, merge))
        for counts, column in zip(self._events, events, strict=True):
            if any(column):
                for method, number in zip(methods, column, strict=True):
                    if number and isinstance(number, int):
                        counts.add(method, amount=number)
        if any(partial):
            self._partial.add(amount=sum(partial))
