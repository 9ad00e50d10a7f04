"""HNSW and RNSG over float vectors: faiss graphs, each with a copy of the vectors to measure by.

Deleted rows are walked through like others, so the more of them there are, the more candidates a walk has to keep.
Where it ends with fewer hits than there are live rows, or would keep a large part of all rows, the answer comes from
exact search over the graph's own vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index import faiss_calls
from milvus_node.index.api import BuildParams, Deleted, SearchParams, Vectors, check_search
from milvus_node.index.container import Blob
from milvus_node.index.engine import faiss, one_thread
from milvus_node.index.flat import FlatIndex
from milvus_node.index.ranking import EMPTY, Keys, ranked, rows_of, to_topk
from mishards.kinds import IndexType, MetricType
from mishards.topk import NO_ID, TopK

BLOB = "faiss"
"""The name of the one part of an index file. Milvus 1.x has other names for its own graphs, which faiss cannot read."""

_SMALLEST_GRAPH = 128
_BRUTE_FORCE_ROWS = 1 << 15
_SPARE = 16


class _GraphIndex:
    """What both graphs share: their vectors, and exact search where the walk falls short."""

    def __init__(self, index: Any, metric: MetricType, storage: Any) -> None:
        self.metric: Final = metric
        self.rows: Final = int(index.ntotal)
        self.dimension: Final = int(index.d)
        self._index = index
        self._exact = FlatIndex(faiss_calls.stored_vectors(storage), metric)

    def blobs(self) -> Sequence[Blob]:
        """One part, in faiss's format."""
        return [faiss_calls.blob(BLOB, self._index)]

    def _candidates(self, wanted: int, deleted: Deleted | None) -> int:
        """Candidates to keep so that about ``wanted`` of them are live."""
        if deleted is None:
            return wanted
        return (wanted + _SPARE) * self.rows // max(1, self.rows - int(np.count_nonzero(deleted)))

    def _completed(self, keys: Keys, x: NDArray[np.float32], params: SearchParams, deleted: Deleted | None) -> TopK:
        """The answer in ranked ``keys`` [nq, k], with the queries that found too few answered exactly."""
        answer, k = to_topk(keys, larger_is_nearer=self.metric.larger_is_nearer), keys.shape[1]
        live = self.rows if deleted is None else self.rows - int(np.count_nonzero(deleted))
        short = np.flatnonzero(answer.ids[:, min(k, live) - 1] == NO_ID) if live else np.empty(0, np.int64)
        if len(short):
            exact = self._exact.search(x[short], k, params, deleted=deleted)
            answer.ids[short], answer.distances[short] = exact.ids, exact.distances
        return answer


class HnswIndex(_GraphIndex):
    """A filled faiss ``IndexHNSWFlat``."""

    index_type = IndexType.HNSW

    def __init__(self, index: Any, metric: MetricType) -> None:
        super().__init__(index, metric, index.storage)

    @property
    def memory_bytes(self) -> int:
        hnsw = self._index.hnsw
        return self._exact.memory_bytes + 4 * int(hnsw.neighbors.size()) + 12 * self.rows

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
        candidates = self._candidates(max(params.ef, k), deleted)
        if candidates > self.rows // 2:
            return self._exact.search(x, k, params, deleted=deleted)
        given = faiss().SearchParametersHNSW(efSearch=candidates)
        live = None if deleted is None else faiss_calls.LiveRows(deleted)  # alive until the search returns
        if live is not None:
            given.sel = live.selector
        return self._completed(faiss_calls.search(self._index, x, k, self.metric, given), x, params, deleted)


class NsgIndex(_GraphIndex):
    """A filled faiss ``IndexNSGFlat``, or, for too few rows to make a graph of, an ``IndexFlat``.

    The walk keeps as many candidates as it is asked for hits, so ``search_length`` is passed as k: it needs no setting
    on the shared object. faiss has no selector here: more hits are asked for, and deleted rows dropped.
    """

    index_type = IndexType.RNSG

    def __init__(self, index: Any, metric: MetricType) -> None:
        self._is_graph = isinstance(index, faiss().IndexNSG)
        super().__init__(index, metric, index.storage if self._is_graph else index)

    @property
    def memory_bytes(self) -> int:
        links = 4 * self._index.nsg.R * self.rows if self._is_graph else 0
        return self._exact.memory_bytes + links

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
        candidates = self._candidates(max(params.search_length, k), deleted)
        if not self._is_graph or candidates > self.rows // 2:
            return self._exact.search(x, k, params, deleted=deleted)
        keys = faiss_calls.search(self._index, x, candidates, self.metric)
        if deleted is not None:
            keys[deleted[rows_of(keys)]] = EMPTY
        return self._completed(ranked(keys, k), x, params, deleted)


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
    if rows < _SMALLEST_GRAPH:
        few = faiss().IndexFlat(dimension, number)
        few.add(vectors)
        return NsgIndex(few, metric)
    index = faiss().IndexNSGFlat(dimension, params.out_degree, number)
    index.build_type = 0 if rows <= _BRUTE_FORCE_ROWS else 1  # exact neighbours to start from, or NN-descent
    index.GK = min(params.knng, rows - 1)
    index.nsg.L = params.search_length
    index.nsg.C = params.candidate_pool_size
    with one_thread():
        index.add(vectors)
    return NsgIndex(index, metric)
