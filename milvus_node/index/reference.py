"""Brute force in plain numpy: the oracle for every index. Clear rather than fast; not used by the node.

Float distances are computed in double precision and rounded once, so an index may differ from them in the last bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvus_node.index.api import Deleted, Vectors
from mishards.kinds import MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK


def distances(metric: MetricType, queries: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """Distances float64[nq, n]; NaN where a row is no match of SUBSTRUCTURE or SUPERSTRUCTURE."""
    if not metric.is_binary:
        y = vectors.astype(np.float64)
        return np.array([_of_floats(metric, query.astype(np.float64), y) for query in queries])
    bits = np.unpackbits(vectors.astype(np.uint8), axis=1).astype(bool)
    return np.array([_of_bits(metric, np.unpackbits(query.astype(np.uint8)).astype(bool), bits) for query in queries])


def search(metric: MetricType, queries: Vectors, vectors: Vectors, k: int, *, deleted: Deleted | None = None) -> TopK:
    """Find the k nearest rows of each query as a `VectorIndex` answers them."""
    ids = np.full((len(queries), k), NO_ID, np.int64)
    found = np.full((len(queries), k), EMPTY_DISTANCE, np.float32)
    for number, exact in enumerate(distances(metric, queries, vectors)):
        rounded = exact.astype(np.float32)
        candidates = ~np.isnan(rounded) if deleted is None else ~np.isnan(rounded) & ~deleted
        rows = np.flatnonzero(candidates)
        order = np.lexsort((rows, -rounded[rows] if metric.larger_is_nearer else rounded[rows]))
        nearest = rows[order[:k]]
        ids[number, : len(nearest)] = nearest
        found[number, : len(nearest)] = rounded[nearest]
    return TopK(ids, found)


def _of_floats(metric: MetricType, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(y @ x if metric is MetricType.IP else ((y - x) ** 2).sum(axis=1))


def _of_bits(metric: MetricType, q: NDArray[np.bool_], r: NDArray[np.bool_]) -> NDArray[np.float64]:
    shared, union = (q & r).sum(axis=1), (q | r).sum(axis=1)
    overlap = np.divide(shared, union, out=np.zeros(len(r)), where=union > 0)
    if metric is MetricType.HAMMING:
        return np.asarray((q ^ r).sum(axis=1), np.float64)
    if metric is MetricType.JACCARD:
        return np.asarray(1 - overlap)
    if metric is MetricType.TANIMOTO:
        with np.errstate(divide="ignore"):
            return np.asarray(0.0 - np.log2(overlap))
    contained = (shared == q.sum()) if metric is MetricType.SUBSTRUCTURE else (shared == r.sum(axis=1))
    return np.where(contained, 0.0, np.nan)
