"""What adds up while the program runs. An addition costs less than a microsecond; safe from any thread.

Values are kept by the values of the labels, in the order in which the metric declares them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from mishards.metrics.declare import Kind, Metric

Labels = tuple[str, ...]


class Counts:
    """Counters of one metric."""

    def __init__(self, metric: Metric, *expected: str) -> None:
        """``expected`` labels are shown from the start, at 0, so that their first event is seen as a rise."""
        self.metric = metric
        self._values: dict[Labels, float] = {} if len(expected) < len(metric.labels) else {expected: 0.0}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def family(self) -> Family:
        """What is shown."""
        with self._lock:
            values = list(self._values.items())
        return family(self.metric, values)


class Buckets:
    """One histogram."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Note how long something took."""
        place = bisect_left(self._bounds, seconds)
        with self._lock:
            self.counts[place] += 1
            self.total += seconds

    def add_all(self, seconds: Sequence[float]) -> None:
        """Note how long many things took."""
        if not seconds:
            return
        values = np.asarray(seconds)
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self.counts)).tolist()
        with self._lock:
            self.counts = [before + more for before, more in zip(self.counts, found, strict=True)]
            self.total += float(values.sum())

    def read(self) -> tuple[list[int], float]:
        """What each bucket has alone, and the sum of all."""
        with self._lock:
            return list(self.counts), self.total


class Durations:
    """Histograms of one metric."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bounds = metric.buckets
        self._children: dict[Labels, Buckets] = {}
        self._lock = threading.Lock()

    def of(self, *labels: str) -> Buckets:
        """The histogram of these labels; who adds to it often may keep it."""
        child = self._children.get(labels)
        if child is None:
            with self._lock:
                child = self._children.setdefault(labels, Buckets(self._bounds))
        return child

    def add(self, seconds: float, *labels: str) -> None:
        """Note how long something took."""
        self.of(*labels).add(seconds)

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the others: what they measured is gone."""
        with self._lock:
            self._children = {labels: child for labels, child in self._children.items() if wanted(labels)}

    def family(self) -> Family:
        """What is shown."""
        metric = self.metric
        shown = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
        names = [f"{bound:g}" for bound in self._bounds] + ["+Inf"]
        with self._lock:
            children = list(self._children.items())
        for labels, child in children:
            counts, total = child.read()
            shown.add_metric(labels, list(zip(names, map(float, accumulate(counts)), strict=True)), total)
        return shown


def family(metric: Metric, values: Iterable[tuple[Labels, float]]) -> Family:
    """What is shown of a counter or gauge whose values are known."""
    of_kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    shown = of_kind(metric.stem, metric.help, labels=metric.labels, unit=metric.unit)
    for labels, value in values:
        shown.add_metric(labels, value)
    return shown


def single(metric: Metric, value: float) -> Family:
    """The same for a metric without labels."""
    return family(metric, [((), value)])
