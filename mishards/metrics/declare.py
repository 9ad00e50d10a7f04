"""How a metric is declared; the declarations themselves are in ``router`` and in the node's own package."""

from __future__ import annotations

import enum
from dataclasses import dataclass

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets for what clients wait for."""

LONG_S = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""The same for work in the background."""


class Kind(enum.Enum):
    """What can be done with a metric's values."""

    COUNTER = "counter"
    """Only rises; begins at 0 when the program starts."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as Prometheus sees it. ``name`` is whole: with the unit, and with ``_total`` if it is a counter."""

    kind: Kind
    name: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        is_counter = self.kind is Kind.COUNTER
        if self.name.endswith("_total") is not is_counter:
            raise ValueError(f"metric {self.name}: the names of counters, and no others, end with _total")
        if self.unit and not self.stem.endswith(f"_{self.unit}"):
            raise ValueError(f"metric {self.name}: the name does not end with the unit {self.unit}")
        if bool(self.buckets) is not (self.kind is Kind.HISTOGRAM):
            raise ValueError(f"metric {self.name}: histograms, and no others, have buckets")

    @property
    def stem(self) -> str:
        """The name without ``_total``."""
        return self.name.removesuffix("_total")


def counter(name: str, help: str, *labels: str, unit: str = "") -> Metric:
    """Declare a counter."""
    return Metric(Kind.COUNTER, name, help, unit, labels)


def gauge(name: str, help: str, *labels: str, unit: str = "") -> Metric:
    """Declare a gauge."""
    return Metric(Kind.GAUGE, name, help, unit, labels)


def histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...] = LATENCY_S) -> Metric:
    """Declare a histogram of seconds."""
    return Metric(Kind.HISTOGRAM, name, help, "seconds", labels, buckets)
