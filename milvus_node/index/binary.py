"""FLAT over binary vectors, and the distances of the five binary metrics.

All five follow from three counts: the bits that differ between query and row, and the bits set in each. With q and r
set and h differing, the intersection holds (q + r - h) / 2 bits and the union (q + r + h) / 2; a row contains the query
when h = r - q, and is contained in it when h = q - r. faiss counts the differing bits; the rest is integer arithmetic.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index.api import Deleted, SearchParams, Vectors, check_search
from milvus_node.index.engine import faiss
from milvus_node.index.ranking import EMPTY, Keys, Nearest, pack, to_topk
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

Codes = NDArray[np.uint8]
Counts = NDArray[np.int32]

_BLOCK_PAIRS = 1 << 18
_BLOCK_QUERIES = 64
_WORD_BYTES = 8


def differing_bits(queries: Codes, codes: Codes) -> Counts:
    """Count int32[nq, n] the bits in which ``queries`` uint8[nq, width] and ``codes`` uint8[n, width] differ."""
    odd_bytes = codes.shape[1] % _WORD_BYTES
    if odd_bytes:  # faiss before 1.15 counts whole words only
        zeros = ((0, 0), (0, _WORD_BYTES - odd_bytes))
        queries, codes = np.pad(queries, zeros), np.pad(codes, zeros)
    counts = np.empty((len(queries), len(codes)), np.int32)
    pointer = faiss().swig_ptr
    shape = (len(queries), len(codes), codes.shape[1])
    faiss().hammings(pointer(queries), pointer(codes), *shape, pointer(counts))
    return counts


def set_bits(codes: Codes) -> Counts:
    """Count int32[n] the bits set in ``codes`` uint8[n, width]."""
    counts: Counts = differing_bits(np.zeros((1, codes.shape[1]), np.uint8), codes)[0]
    return counts


def to_keys(
    metric: MetricType, differing: Counts, query_bits: Counts, row_bits: Counts, rows: NDArray[np.signedinteger]
) -> Keys:
    """Keys [nq, n] from ``differing`` [nq, n], ``query_bits`` [nq], ``row_bits`` [n] and ``rows`` [n].

    Rows that do not match SUBSTRUCTURE or SUPERSTRUCTURE have the key ``EMPTY``.
    """
    q, r = query_bits[:, None], row_bits[None, :]
    if metric is MetricType.HAMMING:
        return pack(differing.astype(np.float32), rows)
    if metric is MetricType.SUBSTRUCTURE:
        return np.where(differing == r - q, rows, EMPTY)
    if metric is MetricType.SUPERSTRUCTURE:
        return np.where(differing == q - r, rows, EMPTY)
    union = (q + r + differing) >> 1
    if metric is MetricType.JACCARD:
        # Both empty: nothing overlaps, so they are as far apart as can be.
        distances = np.ones(union.shape, np.float32)
        np.divide(differing, union, out=distances, where=union > 0, dtype=np.float32)
        return pack(distances, rows)
    if metric is MetricType.TANIMOTO:
        shared = union - differing
        ratio = np.full(union.shape, np.inf)
        np.divide(union, shared, out=ratio, where=shared > 0)
        return pack(np.log2(ratio).astype(np.float32), rows)
    raise ValueError(f"metric {metric.name} is not of binary vectors")


class BinaryFlatIndex:
    """Exact search over ``codes`` uint8[n, dimension // 8], which the index keeps and the caller must not change."""

    index_type = IndexType.BIN_FLAT

    def __init__(self, codes: Codes, metric: MetricType) -> None:
        if codes.ndim != 2 or codes.dtype != np.uint8 or not codes.flags.c_contiguous:
            raise ValueError(f"vectors are {codes.dtype}{list(codes.shape)}; expected contiguous uint8[n, width]")
        self.metric: Final = metric
        self.rows: Final = len(codes)
        self.dimension: Final = int(codes.shape[1]) * 8
        self._codes = codes
        self._row_bits: Counts | None = None

    @property
    def memory_bytes(self) -> int:
        return self._codes.nbytes + 4 * self.rows

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
        x = np.ascontiguousarray(queries, dtype=np.uint8)
        starts = range(0, len(x), _BLOCK_QUERIES)
        parts = [self._nearest(x[at : at + _BLOCK_QUERIES], k, metric or self.metric, deleted) for at in starts]
        return to_topk(np.concatenate(parts))

    def _nearest(self, x: Codes, k: int, metric: MetricType, deleted: Deleted | None) -> Keys:
        nearest, query_bits, row_bits = Nearest(k), set_bits(x), self._bits_of_rows()
        step = _BLOCK_PAIRS // len(x)
        for start in range(0, self.rows, step):
            block = slice(start, start + step)
            rows = np.arange(start, min(start + step, self.rows))
            keys = to_keys(metric, differing_bits(x, self._codes[block]), query_bits, row_bits[block], rows)
            if deleted is not None:
                keys[:, deleted[block]] = EMPTY
            nearest.add(keys)
        return nearest.ranked()

    def _bits_of_rows(self) -> Counts:
        """The bits set in each row, counted once; two threads may both count them, to the same end."""
        if self._row_bits is None:
            self._row_bits = set_bits(self._codes)
        return self._row_bits
