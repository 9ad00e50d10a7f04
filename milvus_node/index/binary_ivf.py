"""IVF_FLAT over binary vectors for HAMMING, JACCARD and TANIMOTO: own inverted lists, since faiss has only HAMMING.

Rows are grouped by the nearest of ``nlist`` centroids, by the metric itself. A search looks exactly into the lists of
the ``nprobe`` nearest centroids. A centroid has the bits that are most frequent among its rows, as many as a row has on
average: with a majority vote, centroids of sparse vectors would lose nearly all their bits and draw every row to them.

TANIMOTO ranks as JACCARD does, so it is grouped and probed by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.errors import SegmentDamaged
from milvus_node.index.api import BuildParams, Deleted, SearchParams, Vectors, check_search
from milvus_node.index.binary import BinaryFlatIndex, Codes, differing_bits, set_bits, to_keys
from milvus_node.index.container import Blob, BlobReader
from milvus_node.index.ranking import EMPTY, Keys, ranked, to_topk
from milvus_node.index.sampling import training_sample
from milvus_node.index.tuning import tuned_nlist
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

METRICS = frozenset({MetricType.HAMMING, MetricType.JACCARD, MetricType.TANIMOTO})

_ADD_ROWS = 1 << 16
_ITERATIONS = 6
_LISTS_AT_ONCE = 1024
_ROWS_AT_ONCE = 4096
_ROWS_PER_CENTROID = 64
_SEED = 1234


@dataclass(frozen=True, slots=True, eq=False)
class InvertedLists:
    """The arrays of an index: list l has the entries ``offsets[l]`` to ``offsets[l + 1]`` of ``rows`` and ``codes``."""

    centroids: Codes
    """uint8[nlist, width]"""
    offsets: NDArray[np.int64]
    """int64[nlist + 1]"""
    rows: NDArray[np.int32]
    """int32[n], ascending within a list"""
    codes: Codes
    """uint8[n, width]"""

    def entries(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers int64[m] of all entries of ``lists`` int64[nprobe]."""
        starts = self.offsets[lists]
        lengths = self.offsets[lists + 1] - starts
        before = np.cumsum(lengths) - lengths
        entries: NDArray[np.int64] = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
        return entries


class BinaryIvfIndex:
    """Exact search in the lists of the nearest centroids."""

    index_type = IndexType.BIN_IVF_FLAT

    def __init__(self, lists: InvertedLists, metric: MetricType) -> None:
        self.metric: Final = metric
        self.rows: Final = len(lists.rows)
        self.dimension: Final = int(lists.codes.shape[1]) * 8
        self._lists = lists
        self._centroids = BinaryFlatIndex(lists.centroids, _grouping(metric))
        self._row_bits = set_bits(lists.codes)

    @property
    def memory_bytes(self) -> int:
        own = (self._lists.offsets, self._lists.rows, self._lists.codes, self._row_bits)
        return sum(array.nbytes for array in own) + self._centroids.memory_bytes

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
        probed = self._centroids.search(x, min(params.nprobe, self._centroids.rows), params).ids
        bits = set_bits(x)
        keys = [ranked(self._keys(x[n : n + 1], bits[n : n + 1], probed[n], deleted), k) for n in range(len(x))]
        return to_topk(np.concatenate(keys))

    def blobs(self) -> Sequence[Blob]:
        """The arrays, one blob each, without headers."""
        lists = self._lists
        arrays: dict[str, NDArray[Any]] = {"centroids": lists.centroids, "offsets": lists.offsets}
        arrays |= {"rows": lists.rows, "codes": lists.codes}
        return [Blob(name, partial(_write_array, array)) for name, array in arrays.items()]

    def _keys(
        self, query: Codes, query_bits: NDArray[np.int32], lists: NDArray[np.int64], deleted: Deleted | None
    ) -> Keys:
        """Keys [1, m] of everything in ``lists``."""
        entries = self._lists.entries(lists)
        rows = self._lists.rows[entries]
        differing = differing_bits(query, self._lists.codes[entries])
        keys = to_keys(self.metric, differing, query_bits, self._row_bits[entries], rows)
        if deleted is not None:
            keys[:, deleted[rows]] = EMPTY
        return keys


def build(metric: MetricType, codes: Codes, params: BuildParams) -> BinaryIvfIndex:
    """Group ``codes`` uint8[n > 0, width]. Raises BuildFailed for a metric that ranks nothing."""
    if metric not in METRICS:
        raise BuildFailed(f"Illegal index params: IVF_FLAT cannot index {metric.name}")
    nlist = tuned_nlist(params.nlist, len(codes))
    centroids = _train(training_sample(codes, nlist, _ROWS_PER_CENTROID), nlist, metric)
    starts = range(0, len(codes), _ADD_ROWS)
    lists = np.concatenate([_nearest(centroids, codes[at : at + _ADD_ROWS], metric) for at in starts])
    order = np.argsort(lists, kind="stable").astype(np.int32)
    offsets = np.searchsorted(lists[order], np.arange(nlist + 1)).astype(np.int64)
    return BinaryIvfIndex(InvertedLists(centroids, offsets, order, codes[order]), metric)


def read(blobs: dict[str, BlobReader], metric: MetricType, dimension: int) -> BinaryIvfIndex:
    """Read what `BinaryIvfIndex.blobs` wrote. Raises SegmentDamaged when the arrays contradict each other."""
    width = dimension // 8
    arrays = {name: blob.read(blob.left) for name, blob in blobs.items()}
    try:
        lists = InvertedLists(
            np.frombuffer(arrays["centroids"], np.uint8).reshape(-1, width),
            np.frombuffer(arrays["offsets"], "<i8"),
            np.frombuffer(arrays["rows"], "<i4"),
            np.frombuffer(arrays["codes"], np.uint8).reshape(-1, width),
        )
    except ValueError as error:
        raise SegmentDamaged(f"the inverted lists have the wrong size: {error}") from error
    n = len(lists.codes)
    fits = len(lists.offsets) == len(lists.centroids) + 1 and lists.offsets[0] == 0 and lists.offsets[-1] == n
    if not fits or (np.diff(lists.offsets) < 0).any() or not np.array_equal(np.sort(lists.rows), np.arange(n)):
        raise SegmentDamaged(f"the inverted lists do not hold {n} rows once each")
    return BinaryIvfIndex(lists, metric)


def _grouping(metric: MetricType) -> MetricType:
    return MetricType.JACCARD if metric is MetricType.TANIMOTO else metric


def _nearest(centroids: Codes, codes: Codes, metric: MetricType) -> NDArray[np.int64]:
    answer = BinaryFlatIndex(centroids, _grouping(metric)).search(codes, 1, SearchParams())
    nearest: NDArray[np.int64] = answer.ids[:, 0]
    return nearest


def _train(sample: Codes, nlist: int, metric: MetricType) -> Codes:
    first = np.random.default_rng(_SEED).choice(len(sample), nlist, replace=False)
    centroids: Codes = sample[first]
    for _ in range(_ITERATIONS):
        centroids = _updated(centroids, sample, _nearest(centroids, sample, metric))
    return centroids


def _updated(centroids: Codes, sample: Codes, lists: NDArray[np.int64]) -> Codes:
    """The centroids of the sample's rows as grouped by ``lists`` int64[rows]; that of an empty list stays."""
    order = np.argsort(lists, kind="stable")
    offsets = np.searchsorted(lists[order], np.arange(len(centroids) + 1))
    updated: Codes = centroids.copy()
    for first in range(0, len(centroids), _LISTS_AT_ONCE):
        last = min(first + _LISTS_AT_ONCE, len(centroids))
        counts = np.zeros((last - first, centroids.shape[1] * 8), np.int32)
        for start in range(offsets[first], offsets[last], _ROWS_AT_ONCE):
            rows = order[start : min(start + _ROWS_AT_ONCE, offsets[last])]
            present, starts = np.unique(lists[rows], return_index=True)
            bits = np.unpackbits(sample[rows], axis=1)
            counts[present - first] += np.add.reduceat(bits, starts, axis=0, dtype=np.int32)
        members = np.diff(offsets[first : last + 1])
        filled = np.flatnonzero(members)
        updated[first + filled] = _typical(counts[filled], members[filled])
    return updated


def _typical(counts: NDArray[np.int32], members: NDArray[np.int64]) -> Codes:
    """The most frequent bits of each list, as many as a member has on average, from how often each bit is set."""
    average = np.rint(counts.sum(axis=1) / members).astype(np.int64)
    descending = -np.sort(-counts, axis=1)
    least = np.take_along_axis(descending, np.maximum(average - 1, 0)[:, None], axis=1)
    typical: Codes = np.packbits(counts >= np.maximum(least, 1), axis=1)
    return typical


def _write_array(array: NDArray[np.generic], stream: BinaryIO) -> None:
    stream.write(array.data)
