"""What a router's metrics say about calls: added up as each one ends."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mishards.logs.calls import Served
from mishards.metrics import router as declared
from mishards.metrics.instruments import Counts, Durations
from mishards.wire.replies import METHODS

T = TypeVar("T")

_STAGES: Final = ("get_routing_ms", "do_search_ms", "do_merge_ms")
_FOLDED_AT: Final = 1024


_EndedCall = tuple[str, str, float, object, object, object, object, object, object, bool]
"""Method, outcome, seconds; milliseconds of each stage; how many of each event; is its result partial?"""


class CallMetrics(Collector):
    """Told of the calls of clients and of those to nodes. Safe from any thread.

    What ends is only put down; it is added up when somebody looks, or when much has come together.
    """

    def __init__(self) -> None:
        self._requests = Counts(declared.REQUESTS)
        self._seconds = Durations(declared.REQUEST_SECONDS)
        self._stages = Durations(declared.STAGE_SECONDS)
        self._stage = [self._stages.of(stage.removesuffix("_ms")) for stage in _STAGES]
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
        if len(self._ended) >= _FOLDED_AT:
            self._fold()

    def called(self, node: str, method: str, seconds: float) -> None:
        """A node has answered a call."""
        self._called.append((node, method, seconds))
        if len(self._called) >= _FOLDED_AT:
            self._fold()

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        self._fold()
        self._nodes.keep(lambda labels: self.is_known(labels[0]))
        for each in (self._requests, self._seconds, self._stages, self._partial, self._nodes):
            yield each.family()
        for counts in self._events:
            yield counts.family()

    def _fold(self) -> None:
        ended = list(_taken(self._ended))
        if ended:
            self._fold_ended(ended)
        nodes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for node, method, took in _taken(self._called):
            nodes[node, method].append(took)
        for (node, method), values in nodes.items():
            self._nodes.of(node, method).add_all(values)

    def _fold_ended(self, ended: list[_EndedCall]) -> None:
        methods, outcomes, seconds, routing, search, merge, *events, partial = zip(*ended, strict=True)
        for labels, number in Counter(zip(methods, outcomes, strict=True)).items():
            self._requests.add(*labels, amount=number)
        for method in set(methods):
            self._seconds.of(method).add_all([s for s, m in zip(seconds, methods, strict=True) if m == method])
        for buckets, column in zip(self._stage, (routing, search, merge), strict=True):
            buckets.add_all([ms / 1000 for ms in column if isinstance(ms, float)])
        for counts, column in zip(self._events, events, strict=True):
            if any(column):
                for method, number in zip(methods, column, strict=True):
                    if number and isinstance(number, int):
                        counts.add(method, amount=number)
        if any(partial):
            self._partial.add(amount=sum(partial))


def _taken(put_down: deque[T]) -> Iterator[T]:
    """What there is, taken out one by one, so that two threads that fold at once share it."""
    with suppress(IndexError):
        while True:
            yield put_down.popleft()
