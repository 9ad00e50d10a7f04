"""The names that HTTP has for what the wire numbers: metrics and kinds of index."""

from __future__ import annotations

from collections.abc import Mapping

from mishards.errors import IllegalIndexType, IllegalMetric
from mishards.kinds import IndexType, MetricType

_INDEX_NAMES: Mapping[int, str] = {
    IndexType.FLAT: "FLAT",
    IndexType.IVF_FLAT: "IVFFLAT",
    IndexType.IVF_SQ8: "IVFSQ8",
    IndexType.IVF_SQ8H: "IVFSQ8H",
    IndexType.RNSG: "RNSG",
    IndexType.IVF_PQ: "IVFPQ",
    IndexType.HNSW: "HNSW",
    IndexType.ANNOY: "ANNOY",
}
_INDEX_NUMBERS = {name: number for number, name in _INDEX_NAMES.items()}
_METRIC_NAMES: Mapping[int, str] = {metric.value: metric.name for metric in MetricType}
_METRIC_NUMBERS = {name: number for number, name in _METRIC_NAMES.items()}
_UNKNOWN = "INVALID"


def index_name(number: int) -> str:
    """The name of an index type."""
    return _INDEX_NAMES.get(number, _UNKNOWN)


def index_number(name: str) -> int:
    """The number of an index type.

    Raises:
        IllegalIndexType: no index has this name.
    """
    number = _INDEX_NUMBERS.get(name)
    if number is None:
        raise IllegalIndexType(f"Invalid index type: {name}. Use one of {', '.join(_INDEX_NUMBERS)}.")
    return number


def metric_name(number: int) -> str:
    """The name of a metric."""
    return _METRIC_NAMES.get(number, _UNKNOWN)


def metric_number(name: str) -> int:
    """The number of a metric.

    Raises:
        IllegalMetric: no metric has this name.
    """
    number = _METRIC_NUMBERS.get(name)
    if number is None:
        raise IllegalMetric(f"Invalid metric type: {name}. Use one of {', '.join(_METRIC_NUMBERS)}.")
    return number


def is_binary(number: int) -> bool:
    """Do the vectors of a metric travel as bytes? A metric that does not exist has none."""
    return number in _METRIC_NAMES and MetricType(number).is_binary
