"""IVF_FLAT, IVF_SQ8 and IVF_PQ over float vectors: faiss inverted lists.

Training sees a bounded sample; rows are added in blocks, straight from the caller's array. Both are seeded and run in
one thread, so the same input gives the same index.

Centroids are compared with each query by itself, so an answer never depends on what else was in the batch, down to the
last bit.

faiss decodes scalar-quantized codes with vector instructions only where the dimension is a multiple of 16, and several
times slower elsewhere. IVF_SQ8 therefore appends zeros up to such a dimension, which changes no distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index import faiss_calls
from milvus_node.index.api import BuildParams, Deleted, SearchParams, Vectors, check_search
from milvus_node.index.blocks import VectorRows, blocks
from milvus_node.index.container import Blob
from milvus_node.index.engine import faiss, one_thread
from milvus_node.index.sampling import training_sample
from milvus_node.index.tuning import tuned_nbits, tuned_nlist
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

BLOB = "IVF"
"""The name of the one part of an index file, as in Milvus 1.x."""

_LANES = 16
_POINTS_PER_CENTROID = 128
_SEED = 1234


class IvfIndex:
    """A trained and filled faiss ``IndexIVF`` with row numbers for ids, of ``padded_dimension`` dimensions."""

    def __init__(self, index: Any, index_type: IndexType, metric: MetricType, dimension: int) -> None:
        self.index_type: Final = index_type
        self.metric: Final = metric
        self.rows: Final = int(index.ntotal)
        self.dimension: Final = dimension
        self._index = index
        self._width, self._nlist = int(index.d), int(index.nlist)
        # A selector, here one of everything, is what keeps faiss from matrix products. Those round differently with the
        # batch, and distances measured on codes begin with the distance to the centroid.
        self._directly = faiss().SearchParameters(sel=faiss().IDSelectorAll())
        self._given: dict[int, Any] = {}

    @property
    def memory_bytes(self) -> int:
        index = self._index
        tables = 4 * index.precomputed_table.size() if self.index_type is IndexType.IVF_PQ else 0
        return int(index.ntotal * (index.code_size + 8) + 4 * index.nlist * index.d + tables)

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
        x = padded(np.ascontiguousarray(queries, dtype=np.float32), self._width)
        nprobe = min(params.nprobe, self._nlist)
        if deleted is None:
            given = self._given.get(nprobe)
            if given is None:  # two threads may both make it, to the same end
                given = self._given[nprobe] = self._parameters(nprobe)
            return faiss_calls.search(self._index, x, k, self.metric, given)
        given, live = self._parameters(nprobe), faiss_calls.LiveRows(deleted)  # alive until the search returns
        given.sel = live.selector
        return faiss_calls.search(self._index, x, k, self.metric, given)

    def _parameters(self, nprobe: int) -> Any:
        return faiss().SearchParametersIVF(nprobe=nprobe, quantizer_params=self._directly)

    def blobs(self) -> Sequence[Blob]:
        """One part, in faiss's format."""
        return [faiss_calls.blob(BLOB, self._index)]


def build(index_type: IndexType, metric: MetricType, vectors: VectorRows, params: BuildParams) -> IvfIndex:
    """Train and fill an index of ``vectors`` float32[n > 0, dimension]. Raises BuildFailed."""
    index = trained(index_type, metric, vectors, params)
    with one_thread():
        for _, block in blocks(vectors):
            index.add(padded(block, index.d))
    return IvfIndex(index, index_type, metric, vectors.shape[1])


def trained(index_type: IndexType, metric: MetricType, vectors: VectorRows, params: BuildParams) -> Any:
    """A faiss index without rows, trained on a sample of ``vectors``. Raises BuildFailed."""
    nlist = tuned_nlist(params.nlist, len(vectors))
    nbits = tuned_nbits(params.nbits, len(vectors)) if index_type is IndexType.IVF_PQ else 0
    index = _untrained(index_type, metric, vectors.shape[1], nlist, (params.m, nbits))
    sample = training_sample(vectors, max(nlist, 1 << nbits), _POINTS_PER_CENTROID)
    with one_thread():
        index.train(padded(sample, index.d))
    return index


def padded_dimension(index_type: IndexType, dimension: int) -> int:
    """The dimension that faiss sees."""
    return -(-dimension // _LANES) * _LANES if index_type is IndexType.IVF_SQ8 else dimension


def _untrained(index_type: IndexType, metric: MetricType, dimension: int, nlist: int, parts: tuple[int, int]) -> Any:
    f, number = faiss(), faiss_calls.metric_of(metric)
    dimension = padded_dimension(index_type, dimension)
    lists = f.IndexFlat(dimension, number), dimension, nlist
    if index_type is IndexType.IVF_FLAT:
        index = f.IndexIVFFlat(*lists, number)
    elif index_type is IndexType.IVF_SQ8:
        index = f.IndexIVFScalarQuantizer(*lists, f.ScalarQuantizer.QT_8bit, number)
    else:
        m, nbits = parts
        if m < 1 or dimension % m:
            raise BuildFailed(f"Illegal index params: m {m} does not divide dimension {dimension}")
        index = f.IndexIVFPQ(*lists, m, nbits, number)
        _seed(index.pq.cp)
    _seed(index.cp)
    return index


def padded(x: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Rows with zeros appended up to ``dimension``."""
    missing = dimension - x.shape[1]
    return np.pad(x, ((0, 0), (0, missing))) if missing else x


def _seed(clustering: Any) -> None:
    clustering.seed = _SEED
    clustering.min_points_per_centroid = 1  # fewer only draws a warning on the console
    clustering.max_points_per_centroid = _POINTS_PER_CENTROID  # the sample is bounded already
