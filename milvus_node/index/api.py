"""What an index offers: search over the rows 0..n-1 that it was built from.

An index knows row numbers only. Which user id a row has, which segment it belongs to and where its files lie are the
caller's business, and so are the limits and texts of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from milvus_node.index.container import Blob
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

Vectors = NDArray[np.float32] | NDArray[np.uint8]
"""float32[n, dimension], or uint8[n, dimension // 8] for the binary metrics; rows contiguous. May be a memory map."""

Deleted = NDArray[np.bool_]
"""bool[rows]: True where a row is deleted and must not appear in an answer."""

_P = TypeVar("_P", bound="_Params")


@dataclass(frozen=True, slots=True)
class _Params:
    @classmethod
    def of(cls: type[_P], given: Mapping[str, object]) -> _P:
        """Take the numbers this class knows out of ``given``, keyed as in the protocol's JSON; the rest has defaults.

        Floats are truncated. What is no number is passed over: the protocol checks only what an index type needs.
        """
        names = {_JSON_NAMES.get(field.name, field.name): field.name for field in fields(cls)}
        numbers = {k: v for k, v in given.items() if isinstance(v, int) or (isinstance(v, float) and isfinite(v))}
        return cls(**{names[key]: int(value) for key, value in numbers.items() if key in names})


_JSON_NAMES = {"links": "M", "ef_construction": "efConstruction"}


@dataclass(frozen=True, slots=True)
class SearchParams(_Params):
    """How hard to search. Each index reads its own; FLAT reads none."""

    nprobe: int = 16
    """IVF: lists to look into."""
    ef: int = 64
    """HNSW: candidates to keep; never fewer than k."""
    search_k: int = -1
    """ANNOY: nodes to look at; -1 is trees * k."""
    search_length: int = 60
    """RNSG: candidates to keep; never fewer than k."""


@dataclass(frozen=True, slots=True)
class BuildParams(_Params):
    """How to build. Each index reads its own; FLAT reads none."""

    nlist: int = 1024
    """IVF: lists; lowered for few rows."""
    m: int = 16
    """IVF_PQ: parts of a vector; must divide the dimension."""
    nbits: int = 8
    """IVF_PQ: bits of a part; lowered for few rows."""
    links: int = 16
    """HNSW: links of a row on each level (``M`` in the protocol)."""
    ef_construction: int = 200
    """HNSW: candidates while building (``efConstruction`` in the protocol)."""
    n_trees: int = 8
    """ANNOY: trees."""
    search_length: int = 60
    """RNSG: candidates while building."""
    out_degree: int = 30
    """RNSG: links of a row."""
    candidate_pool_size: int = 200
    """RNSG: candidates considered for the links of a row."""
    knng: int = 50
    """RNSG: neighbours in the graph that it starts from."""


class VectorIndex(Protocol):
    """An immutable index. Any number of threads may search it at once."""

    @property
    def index_type(self) -> IndexType:
        """The kind; BIN_FLAT and BIN_IVF_FLAT for binary vectors."""
        ...

    @property
    def metric(self) -> MetricType:
        """The metric it was built for."""
        ...

    @property
    def rows(self) -> int:
        """Rows, deleted ones included."""
        ...

    @property
    def dimension(self) -> int:
        """Dimensions: floats, or bits."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Bytes that it keeps in memory, the vectors it searches included; good to a few per cent."""
        ...

    def search(
        self,
        queries: Vectors,
        k: int,
        params: SearchParams,
        *,
        deleted: Deleted | None = None,
        metric: MetricType | None = None,
    ) -> TopK:
        """Find the k nearest rows of each query: row numbers and distances [nq, k], ordered by (distance, row).

        Places that no row fills hold NO_ID and EMPTY_DISTANCE. The distance is L2 squared; the inner product; or for
        the binary metrics the differing bits, 1 - and/or, -log2(and/or), and 0 for every match in row order.
        ``metric`` overrides the metric of a FLAT index; the others ignore it. Raises ValueError for queries of the
        wrong width or kind, no queries, k < 1, or a ``deleted`` of the wrong length.
        """
        ...


class Storable(Protocol):
    """What has an index file of its own. FLAT has none: its vectors are the raw file."""

    @property
    def index_type(self) -> IndexType:
        """The kind."""
        ...

    def blobs(self) -> Sequence[Blob]:
        """The parts of its file, in order."""
        ...


class StorableIndex(VectorIndex, Storable, Protocol):
    """An index that can be searched and stored."""


def check_search(index: VectorIndex, queries: Vectors, k: int, deleted: Deleted | None) -> Deleted | None:
    """Raise ValueError where the arguments of a search do not fit ``index``; return ``deleted``, or None for no row."""
    binary = index.metric.is_binary
    width, kind = (index.dimension // 8, "uint8") if binary else (index.dimension, "float32")
    if queries.ndim != 2 or queries.shape[1] != width or queries.dtype != kind or not len(queries):
        raise ValueError(f"queries are {queries.dtype}{list(queries.shape)}; expected {kind}[nq > 0, {width}]")
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if deleted is None:
        return None
    if deleted.shape != (index.rows,) or deleted.dtype != np.bool_:
        raise ValueError(f"deleted is {deleted.dtype}{list(deleted.shape)}; expected bool[{index.rows}]")
    return deleted if deleted.any() else None


def live_rows(index: VectorIndex, deleted: Deleted | None) -> int:
    """Rows that are not deleted."""
    return index.rows if deleted is None else index.rows - int(np.count_nonzero(deleted))
