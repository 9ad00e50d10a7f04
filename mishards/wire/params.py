"""The JSON object that requests carry in ``extra_params``: how an index is built, how a search is done.

It travels as one pair with the key ``params``. Keys that nobody asks for are kept and ignored. A number may be written
as a float, which is truncated; the error texts are those of Milvus 1.1 and of the JSON library it uses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mishards.errors import IllegalArgument, IllegalDimension, IllegalIndexType, IllegalMetric, MalformedParams
from mishards.kinds import IndexType, MetricType

PARAMS_KEY: Final = "params"
"""Key of the pair in ``extra_params`` that holds the JSON object."""

CONSISTENCY_LEVELS: Final = ("Strong", "Session", "Bounded", "Eventually")
"""The values of ``consistency_level``, a search parameter of this project that Milvus 1.x ignores."""

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

_MAX_DEPTH: Final = 100
"""Nesting that is accepted, so that whoever encodes the object again does not run out of stack."""

_Range = tuple[str, int, int]

_NLIST: Final[_Range] = ("nlist", 1, 65536)
_BUILD_RANGES: Final[Mapping[IndexType, tuple[_Range, ...]]] = {
    IndexType.IVF_FLAT: (_NLIST,),
    IndexType.IVF_SQ8: (_NLIST,),
    IndexType.IVF_SQ8H: (_NLIST,),
    IndexType.IVF_PQ: (_NLIST,),
    IndexType.RNSG: (
        ("search_length", 10, 300),
        ("out_degree", 5, 300),
        ("candidate_pool_size", 50, 1000),
        ("knng", 5, 300),
    ),
    IndexType.HNSW: (("M", 4, 64), ("efConstruction", 8, 512)),
    IndexType.ANNOY: (("n_trees", 1, 1024),),
}
_IVF_TYPES: Final = (IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_SQ8H, IndexType.IVF_PQ)


class Pair(Protocol):
    """A ``KeyValuePair`` message, or anything that looks like one."""

    @property
    def key(self) -> str:
        """The pair's key."""

    @property
    def value(self) -> str:
        """The pair's value."""


@dataclass(frozen=True, slots=True)
class SearchParams:
    """The checked parameters of a search. What the index type does not ask for is None."""

    metric: MetricType
    """The metric to search by: the collection's, unless the client overrode it on a FLAT collection."""
    nprobe: int | None = None
    ef: int | None = None
    search_k: int | None = None
    search_length: int | None = None
    consistency_level: str | None = None
    """One of ``CONSISTENCY_LEVELS``; None leaves it to the configuration."""
    graceful_time_ms: int | None = None
    """How old, in milliseconds, what a Bounded search sees may be; None leaves it to the configuration."""
    raw: Mapping[str, Any] | None = None
    """The whole JSON object as the client gave it; must not be changed."""


def find_params(extra_params: Iterable[Pair]) -> str:
    """Return the JSON text in ``extra_params``; an empty object when there is none, the last when there are several."""
    text = "{}"
    for pair in extra_params:
        if pair.key == PARAMS_KEY:
            text = pair.value
    return text


def parse_params(text: str) -> dict[str, Any]:
    """Parse the JSON text of ``extra_params``. JSON that is no object counts as an empty one: it has no parameter.

    Raises:
        MalformedParams: not JSON.
    """
    try:
        parsed = _DECODER.decode(text)
        if text.count("[") + text.count("{") > _MAX_DEPTH:
            _check_depth(parsed)
        if not text.isascii() or "\\" in text:
            canonical_json(parsed).encode()  # a lone surrogate, escaped, passes Python's parser
    except (ValueError, RecursionError) as error:
        raise MalformedParams(f"extra_params: value of 'params' is not JSON: {error}") from error
    return parsed if isinstance(parsed, dict) else {}


def canonical_json(params: Mapping[str, Any]) -> str:
    """Encode an object the way that the catalog stores it and DescribeIndex returns it: sorted keys, no blanks."""
    return json.dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def build_params(
    index_type: IndexType, metric: MetricType, dimension: int, extra_params: Iterable[Pair]
) -> dict[str, Any]:
    """Check the parameters of CreateIndex, then that the index type fits the metric; return the object as given.

    A number in it may be a float; the index is built with its integer part.

    Raises:
        MalformedParams: not JSON.
        IllegalArgument: a parameter is missing, no number, or out of range.
        IllegalDimension: ``m`` of IVF_PQ does not divide the dimension.
        IllegalIndexType: the metric is one of binary vectors and the index is not.
    """
    params = parse_params(find_params(extra_params))
    plain = index_type.on_the_wire
    for name, low, high in _BUILD_RANGES.get(plain, ()):
        _ranged(params, name, low, high)
    if plain is IndexType.IVF_PQ:
        _check_product_quantizer(params, dimension)
    if metric.is_binary and plain not in (IndexType.FLAT, IndexType.IVF_FLAT):
        raise IllegalIndexType("Invalid index type for collection metric type")
    return params


def search_params(index_type: IndexType, metric: MetricType, topk: int, text: str) -> SearchParams:
    """Check the parameters of a search against the collection's index type, whatever its segments are.

    ``text`` is what ``find_params`` found. On a FLAT collection ``metric_type`` in it overrides ``metric``.

    Raises:
        MalformedParams: not JSON.
        IllegalArgument: a parameter is missing, no number, or out of range.
        IllegalMetric: ``metric_type`` does not exist or is one of the other kind of vectors.
    """
    params = parse_params(text)
    plain = index_type.on_the_wire
    nprobe = ef = search_k = search_length = None
    if plain is IndexType.FLAT:
        metric = _override(params, metric)
    elif plain in _IVF_TYPES:
        nprobe = _ranged(params, "nprobe", 1, 65536)
    elif plain is IndexType.HNSW:
        ef = _ranged(params, "ef", topk, 32768)
    elif plain is IndexType.ANNOY:
        search_k = _ranged(params, "search_k", MIN_INT64, MAX_INT64)
    elif plain is IndexType.RNSG:
        search_length = _ranged(params, "search_length", 10, 300)
    graceful = _ranged(params, "graceful_time_ms", 0, MAX_INT64) if "graceful_time_ms" in params else None
    level = _consistency_level(params)
    return SearchParams(metric, nprobe, ef, search_k, search_length, level, graceful, params)


def _check_product_quantizer(params: Mapping[str, Any], dimension: int) -> None:
    m = _required(params, "m")
    if m < 0:
        raise IllegalArgument(f"Invalid m value: {m}")
    if m == 0 or dimension % m:
        raise IllegalDimension("Invalid collection dimension, dimension can not be divided by m")
    if "nbits" in params:
        _ranged(params, "nbits", 1, 16)


def _override(params: Mapping[str, Any], metric: MetricType) -> MetricType:
    if "metric_type" not in params:
        return metric
    number = _required(params, "metric_type")
    wanted = [kind for kind in MetricType if kind.is_binary == metric.is_binary]
    if number not in wanted:
        names = ", ".join(f"{kind.value} ({kind.name})" for kind in wanted)
        raise IllegalMetric(f"Invalid index metric type: {number}. Vectors of this collection are compared by {names}.")
    return MetricType(number)


def _consistency_level(params: Mapping[str, Any]) -> str | None:
    given = params.get("consistency_level")
    if given is None or given in CONSISTENCY_LEVELS:
        return given
    raise IllegalArgument(f"Invalid consistency_level: {given!r}. Use one of {', '.join(CONSISTENCY_LEVELS)}")


def _ranged(params: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = _required(params, name)
    if not low <= value <= high:
        raise IllegalArgument(f"Invalid {name} value: {value}. Valid range is [{low}, {high}]")
    return value


def _required(params: Mapping[str, Any], name: str) -> int:
    if name not in params:
        raise IllegalArgument(f"Parameter list must contain: {name}")
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = _JSON_KINDS[type(value)]
        raise IllegalArgument(f"Invalid {name}: [json.exception.type_error.302] type must be number, but is {kind}")
    return int(value)


_JSON_KINDS: Final = {bool: "boolean", str: "string", type(None): "null", list: "array", dict: "object"}


def _check_depth(parsed: Any) -> None:
    level: list[Any] = [parsed]
    for _ in range(_MAX_DEPTH + 1):
        level = [node for node in level if isinstance(node, (dict, list))]
        if not level:
            return
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    raise ValueError(f"nested deeper than {_MAX_DEPTH}")


def _parse_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"number overflow parsing '{digits[:40]}'")
    return value


def _parse_constant(name: str) -> None:
    raise ValueError(f"'{name}' is not a JSON value")


_DECODER: Final = json.JSONDecoder(parse_float=_parse_float, parse_constant=_parse_constant)
