"""FLAT over float vectors: exact search in the caller's own array, which is neither copied nor turned into an index.

Few queries are compared with every row directly. A batch goes through matrix products (BLAS), which are many times
faster but round differently and cancel; so they only propose candidates, a few more than asked for. Candidates are
measured again directly, and a query is done when the bound on the rounding error proves that no row outside its
candidates can belong to the answer. A query without that proof (near-duplicates far from the origin, many rows of one
distance) is compared with every row. So an answer never depends on what else was in the batch, down to the last bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index.api import Deleted, SearchParams, Vectors, check_search, live_rows
from milvus_node.index.engine import BLAS_FROM_QUERIES, faiss
from milvus_node.index.ranking import EMPTY, Keys, Nearest, distances_of, pack, ranked, to_topk
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

_SCAN_ROWS = 1 << 17
_SPARE = 16
_BATCH_CANDIDATES = 1 << 20
_UNIT_ROUNDOFF = 2.0**-24


class FlatIndex:
    """Exact search over ``vectors`` float32[n, dimension], which the index keeps and the caller must not change."""

    index_type = IndexType.FLAT

    def __init__(self, vectors: NDArray[np.float32], metric: MetricType) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
            raise ValueError(f"vectors are {vectors.dtype}{list(vectors.shape)}; expected contiguous float32[n, d]")
        self.metric: Final = metric
        self.rows: Final = len(vectors)
        self.dimension: Final = int(vectors.shape[1])
        self._vectors = vectors
        self._squares: NDArray[np.float32] | None = None

    @property
    def memory_bytes(self) -> int:
        return self._vectors.nbytes + 4 * self.rows

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
        metric = metric or self.metric
        x = np.ascontiguousarray(queries, dtype=np.float32)
        fetch = self._candidates_needed(k, deleted)
        if len(x) < BLAS_FROM_QUERIES or fetch > self.rows // 2:
            keys = self._scan(x, k, metric, deleted)
        else:
            step = max(BLAS_FROM_QUERIES, _BATCH_CANDIDATES // fetch)
            parts = [self._batch(x[at : at + step], k, fetch, metric, deleted) for at in range(0, len(x), step)]
            keys = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return to_topk(keys, larger_is_nearer=metric.larger_is_nearer)

    def _candidates_needed(self, k: int, deleted: Deleted | None) -> int:
        """Candidates to ask for so that most likely k live ones are among them, and the proof holds."""
        wanted = k + k // 8 + _SPARE
        if deleted is None:
            return wanted
        return wanted * self.rows // max(1, live_rows(self, deleted)) + _SPARE

    def _batch(self, x: NDArray[np.float32], k: int, fetch: int, metric: MetricType, deleted: Deleted | None) -> Keys:
        """Keys [nq, k] through matrix products; ``fetch`` <= rows."""
        proposed, candidates = self._propose(x, fetch, metric)
        keys = pack(self._measure(x, candidates, metric), candidates, larger_is_nearer=metric.larger_is_nearer)
        if deleted is not None:
            keys[deleted[candidates]] = EMPTY
        keys = ranked(keys, k)
        unproven = np.flatnonzero(~self._proven(x, keys[:, -1], proposed[:, -1], metric))
        if len(unproven):
            keys[unproven] = self._scan(x[unproven], k, metric, deleted)
        return keys

    def _proven(
        self, x: NDArray[np.float32], last_kept: Keys, last_proposed: NDArray[np.float32], metric: MetricType
    ) -> NDArray[np.bool_]:
        """For which queries bool[nq] can no row that was not proposed be as near as the last kept?

        With unit roundoff u, a dot product of d terms is off by at most g*|x|*|y|, g = d*u / (1 - d*u), in any order of
        summation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). |x|^2 + |y|^2 - 2xy is thus
        off by no more than 2g(|x|^2 + |y|^2); the factor below has room for the direct sum's own error. For L2 only
        rows with |y| <= |x| + sqrt(kept distance) matter.
        """
        kept = distances_of(last_kept, larger_is_nearer=metric.larger_is_nearer).astype(np.float64)
        last = last_proposed.astype(np.float64)
        gamma = 4 * (self.dimension + 8) * _UNIT_ROUNDOFF
        length = np.sqrt(np.einsum("qd,qd->q", x, x, dtype=np.float64))
        filled = last_kept != EMPTY
        if metric.larger_is_nearer:
            longest = float(np.sqrt(self._row_squares().max()))
            return np.asarray(filled & (last + gamma * length * longest < kept))
        reach = length + np.sqrt(kept)
        return np.asarray(filled & (last - gamma * (length**2 + reach**2) > kept))

    def _propose(
        self, x: NDArray[np.float32], k: int, metric: MetricType
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Distances and rows [nq, k], nearest first, as the matrix product sees them."""
        distances = np.empty((len(x), k), np.float32)
        rows = np.empty((len(x), k), np.int64)
        f, pointer = faiss(), faiss().swig_ptr
        shape = (self.dimension, len(x), self.rows, k, pointer(distances), pointer(rows))
        if metric.larger_is_nearer:
            f.knn_inner_product(pointer(x), pointer(self._vectors), *shape)
        else:
            f.knn_L2sqr(pointer(x), pointer(self._vectors), *shape, pointer(self._row_squares()))
        return distances, rows

    def _scan(self, x: NDArray[np.float32], k: int, metric: MetricType, deleted: Deleted | None) -> Keys:
        """Keys [nq, k] by measuring every live row."""
        live = np.arange(self.rows) if deleted is None else np.flatnonzero(~deleted)
        keys = np.full((len(x), k), EMPTY)
        for number in range(len(x)):
            query, nearest = x[number : number + 1], Nearest(k)
            for start in range(0, len(live), _SCAN_ROWS):
                rows = live[None, start : start + _SCAN_ROWS]
                distances = self._measure(query, rows, metric)
                nearest.add(pack(distances, rows, larger_is_nearer=metric.larger_is_nearer))
            if len(live):
                keys[number] = nearest.ranked()[0]
        return keys

    def _measure(self, x: NDArray[np.float32], rows: NDArray[np.int64], metric: MetricType) -> NDArray[np.float32]:
        """Distances float32[nq, n] of each query to its own ``rows`` int64[nq, n], without matrix products."""
        f, pointer = faiss(), faiss().swig_ptr
        distances = np.empty(rows.shape, np.float32)
        measure = f.fvec_inner_products_by_idx if metric.larger_is_nearer else f.fvec_L2sqr_by_idx
        arrays = (pointer(distances), pointer(x), pointer(self._vectors), pointer(rows))
        measure(*arrays, self.dimension, *rows.shape)
        return distances

    def _row_squares(self) -> NDArray[np.float32]:
        """Squared lengths float32[n], computed once; two threads may both compute them, to the same end."""
        squares = self._squares
        if squares is None:
            squares = np.empty(self.rows, np.float32)
            pointer = faiss().swig_ptr
            faiss().fvec_norms_L2sqr(pointer(squares), pointer(self._vectors), self.dimension, self.rows)
            self._squares = squares
        return squares
