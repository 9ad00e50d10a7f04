"""HNSW and RNSG over float vectors: faiss graphs, each with a copy of the vectors to measure by.

Deleted rows are walked through like others, so the more of them there are, the more candidates a walk has to keep.
Where it ends with fewer hits than there are live rows, or would keep a large part of all rows, the answer comes from
exact search over the graph's own vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index import faiss_calls, ivf
from milvus_node.index.api import BuildParams, Deleted, SearchParams, Vectors, check_search, live_rows
from milvus_node.index.container import Blob
from milvus_node.index.engine import faiss, one_thread
from milvus_node.index.flat import FlatIndex
from milvus_node.index.ranking import EMPTY, pack, ranked, to_topk
from mishards.kinds import IndexType, MetricType
from mishards.topk import NO_ID, TopK

BLOB = "faiss"
"""The name of the one part of an index file. Milvus 1.x has other names for its own graphs, which faiss cannot read."""

_SMALLEST_GRAPH = 128
_NEIGHBOUR_SEARCH = SearchParams(nprobe=8)
_ROWS_AT_ONCE = 1 << 12
_SPARE = 16


class _GraphIndex(ABC):
    """What both graphs share: their vectors, and exact search where a walk is not worth it or falls short."""

    def __init__(self, index: Any, metric: MetricType, storage: Any) -> None:
        self.metric: Final = metric
        self.rows: Final = int(index.ntotal)
        self.dimension: Final = int(index.d)
        self._index = index
        self._exact = FlatIndex(faiss_calls.stored_vectors(storage), metric)

    @property
    def memory_bytes(self) -> int:
        return self._exact.memory_bytes + self._link_bytes()

    def search(
        self,
        queries: Vectors,
        k: int,
        params: SearchParams,
        *,
        deleted: Deleted | None = None,
        metric: MetricType | None = None,
    ) -> TopK:
        deleted = check_search(self, queries, k, deleted)
        x = np.ascontiguousarray(queries, dtype=np.float32)
        live = live_rows(self, deleted)
        candidates = max(self._wanted(params), k)
        if deleted is not None:
            candidates = (candidates + _SPARE) * self.rows // max(1, live)
        if candidates > self.rows // 2:
            return self._exact.search(x, k, params, deleted=deleted)
        answer = self._walk(x, k, candidates, deleted)
        short = np.flatnonzero(answer.ids[:, min(k, live) - 1] == NO_ID)
        if len(short):
            exact = self._exact.search(x[short], k, params, deleted=deleted)
            answer.ids[short], answer.distances[short] = exact.ids, exact.distances
        return answer

    def blobs(self) -> Sequence[Blob]:
        """One part, in faiss's format."""
        return [faiss_calls.blob(BLOB, self._index)]

    @property
    @abstractmethod
    def index_type(self) -> IndexType: ...

    @abstractmethod
    def _link_bytes(self) -> int: ...

    @abstractmethod
    def _wanted(self, params: SearchParams) -> int:
        """The candidates that the caller wants a walk to keep."""

    @abstractmethod
    def _walk(self, x: NDArray[np.float32], k: int, candidates: int, deleted: Deleted | None) -> TopK:
        """The k nearest live rows among ``candidates``, [nq, k]."""


class HnswIndex(_GraphIndex):
    """A filled faiss ``IndexHNSWFlat``."""

    index_type = IndexType.HNSW

    def __init__(self, index: Any, metric: MetricType) -> None:
        super().__init__(index, metric, index.storage)

    def _link_bytes(self) -> int:
        return 4 * int(self._index.hnsw.neighbors.size()) + 12 * self.rows

    def _wanted(self, params: SearchParams) -> int:
        return params.ef

    def _walk(self, x: NDArray[np.float32], k: int, candidates: int, deleted: Deleted | None) -> TopK:
        given = faiss().SearchParametersHNSW(efSearch=candidates)
        live = None if deleted is None else faiss_calls.LiveRows(deleted)  # alive until the search returns
        if live is not None:
            given.sel = live.selector
        return faiss_calls.search(self._index, x, k, self.metric, given)


class NsgIndex(_GraphIndex):
    """A filled faiss ``IndexNSGFlat``, or, for too few rows to make a graph of, an ``IndexFlat``.

    A walk keeps as many candidates as it is asked for hits, so the candidates are passed as k: that needs no setting on
    the object that all threads share. faiss has no selector here, so deleted rows are dropped from what it finds.
    """

    index_type = IndexType.RNSG

    def __init__(self, index: Any, metric: MetricType) -> None:
        self._is_graph = isinstance(index, faiss().IndexNSG)
        super().__init__(index, metric, index.storage if self._is_graph else index)

    def _link_bytes(self) -> int:
        return 4 * int(self._index.nsg.R) * self.rows if self._is_graph else 0

    def _wanted(self, params: SearchParams) -> int:
        return params.search_length if self._is_graph else self.rows

    def _walk(self, x: NDArray[np.float32], k: int, candidates: int, deleted: Deleted | None) -> TopK:
        found, larger_is_nearer = (
            faiss_calls.search(self._index, x, candidates, self.metric),
            self.metric.larger_is_nearer,
        )
        if deleted is None:
            return TopK(found.ids[:, :k], found.distances[:, :k])
        keys = pack(found.distances, found.ids, larger_is_nearer=larger_is_nearer)
        keys[deleted[found.ids]] = EMPTY
        return to_topk(ranked(keys, k), larger_is_nearer=larger_is_nearer)


def build_hnsw(metric: MetricType, vectors: NDArray[np.float32], params: BuildParams) -> HnswIndex:
    """Build an HNSW graph of ``vectors`` float32[n > 0, dimension]."""
    index = faiss().IndexHNSWFlat(vectors.shape[1], params.links, faiss_calls.metric_of(metric))
    index.hnsw.efConstruction = params.ef_construction
    with one_thread():
        index.add(vectors)  # in one call: the copy of the vectors is then allocated once, in its final size
    return HnswIndex(index, metric)


def build_nsg(metric: MetricType, vectors: NDArray[np.float32], params: BuildParams) -> NsgIndex:
    """Build an NSG graph of ``vectors`` float32[n > 0, dimension]."""
    rows, dimension = vectors.shape
    number = faiss_calls.metric_of(metric)
    with one_thread():
        if rows < _SMALLEST_GRAPH:
            few = faiss().IndexFlat(dimension, number)
            few.add(vectors)
            return NsgIndex(few, metric)
        index = faiss().IndexNSGFlat(dimension, params.out_degree, number)
        index.nsg.L = params.search_length
        index.nsg.C = params.candidate_pool_size
        index.GK = min(params.knng, rows - 1)
        index.build(vectors, _neighbours(metric, vectors, index.GK))
    return NsgIndex(index, metric)


def _neighbours(metric: MetricType, vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Rows int64[n, k] near each row, itself left out, as found by an IVF index that is thrown away.

    On 40,000 words this takes an eighth of the time of faiss's own NN-descent, for the same recall of the finished
    graph; and it accepts rows that are equal.
    """
    rows = len(vectors)
    lists = ivf.build(IndexType.IVF_SQ8, metric, vectors, BuildParams(nlist=2 * math.isqrt(rows)))
    neighbours = np.empty((rows, k), np.int64)
    for start in range(0, rows, _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE]
        own = np.arange(start, start + len(block))[:, None]
        found = lists.search(block, k + 1, _NEIGHBOUR_SEARCH).ids
        others = found != own
        others[others.all(axis=1), -1] = False
        near = found[others].reshape(-1, k)
        filler = (own + 1 + np.arange(k)) % rows
        neighbours[start : start + len(block)] = np.where(near == NO_ID, filler, near)
    return neighbours
