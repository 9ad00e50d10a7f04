"""Build an index of any type: which adapter, for which metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
from numpy.typing import NDArray

from milvus_node.index import binary_ivf, forest, graph, ivf, ivf_file
from milvus_node.index.api import BuildParams, Storable, VectorIndex, Vectors
from milvus_node.index.binary import BinaryFlatIndex
from milvus_node.index.blocks import VectorRows
from milvus_node.index.flat import FlatIndex
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType

BINARY_TYPES = frozenset({IndexType.FLAT, IndexType.BIN_FLAT, IndexType.IVF_FLAT, IndexType.BIN_IVF_FLAT})
FLOAT_TYPES = frozenset(
    {
        IndexType.FLAT,
        IndexType.IVF_FLAT,
        IndexType.IVF_SQ8,
        IndexType.IVF_PQ,
        IndexType.RNSG,
        IndexType.HNSW,
        IndexType.ANNOY,
    }
)

_IVF_TYPES = frozenset({IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_PQ})


def build(index_type: IndexType, metric: MetricType, vectors: Vectors, params: BuildParams) -> VectorIndex:
    """Build an index of ``vectors`` [n > 0, width], which may be a memory map: there is no copy of all but the index.

    The same input gives the same index. FLAT keeps ``vectors`` itself; every other index is independent of them. Runs
    in the calling thread, for seconds to minutes, mostly without the interpreter lock. Raises BuildFailed when the
    type does not fit the metric, the parameters do not fit the dimension, or the library refuses.
    """
    with _checked(index_type, metric, vectors):
        if metric.is_binary:
            return _build_binary(index_type, metric, cast("NDArray[np.uint8]", vectors), params)
        return _build_float(index_type, metric, cast("NDArray[np.float32]", vectors), params)


def prepare(index_type: IndexType, metric: MetricType, vectors: VectorRows, params: BuildParams) -> Storable:
    """Build for the index file alone: the file is that of ``build``.

    Of the IVF types of float vectors, neither vectors nor index are ever in memory as a whole; ``vectors`` are read in
    order a few times, the last time by ``file.save``. Raises as ``build``, and what reading raises.
    """
    if metric.is_binary or index_type not in _IVF_TYPES:
        return cast("Storable", build(index_type, metric, vectors[:], params))
    with _checked(index_type, metric, vectors):
        return ivf_file.prepare(index_type, metric, vectors, params)


@contextmanager
def _checked(index_type: IndexType, metric: MetricType, vectors: VectorRows) -> Iterator[None]:
    """Check what is to be built, and turn what faiss refuses in the block into BuildFailed."""
    if index_type not in (BINARY_TYPES if metric.is_binary else FLOAT_TYPES):
        raise BuildFailed(f"Illegal index params: {index_type.name} cannot index {metric.name}")
    if not len(vectors):
        raise BuildFailed(f"Illegal index params: {index_type.name} of no rows")
    try:
        yield
    except RuntimeError as error:
        raise BuildFailed(f"{index_type.name} over {metric.name}, {list(vectors.shape)}: {error}") from error


def _build_binary(
    index_type: IndexType, metric: MetricType, codes: NDArray[np.uint8], params: BuildParams
) -> VectorIndex:
    if index_type.is_flat:
        return BinaryFlatIndex(codes, metric)
    return binary_ivf.build(metric, codes, params)


def _build_float(
    index_type: IndexType, metric: MetricType, vectors: NDArray[np.float32], params: BuildParams
) -> VectorIndex:
    if index_type is IndexType.FLAT:
        return FlatIndex(vectors, metric)
    if index_type is IndexType.RNSG:
        return graph.build_nsg(metric, vectors, params)
    if index_type is IndexType.HNSW:
        return graph.build_hnsw(metric, vectors, params)
    if index_type is IndexType.ANNOY:
        return forest.build(metric, vectors, params)
    return ivf.build(index_type, metric, vectors, params)
