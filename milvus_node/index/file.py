"""Index files: an index to a path and back.

The layout is the container of Milvus 1.x, and for the IVF types also the content (one blob ``IVF`` in faiss's format).
The other types have blobs of our own, under names that a Milvus 1.x node does not know. A file that cannot be served
raises; the segment's raw vectors are always there to serve instead. Checksums, fsync and rename are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milvus_node.errors import IndexUnreadable, SegmentDamaged, SegmentMissing
from milvus_node.index import binary_ivf, container, faiss_calls, forest, graph, huge_pages, ivf
from milvus_node.index.api import Storable, StorableIndex
from milvus_node.index.container import BlobReader
from milvus_node.index.engine import faiss
from mishards.kinds import IndexType, MetricType

_WRITE_BUFFER = 1 << 20
_BLOBS = {
    IndexType.IVF_FLAT: {ivf.BLOB},
    IndexType.IVF_SQ8: {ivf.BLOB},
    IndexType.IVF_PQ: {ivf.BLOB},
    IndexType.HNSW: {graph.BLOB},
    IndexType.RNSG: {graph.BLOB},
    IndexType.ANNOY: {forest.BLOB},
    IndexType.BIN_IVF_FLAT: {"centroids", "offsets", "rows", "codes"},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the catalog says about the vectors behind an index file."""

    metric: MetricType
    rows: int
    dimension: int


def save(index: Storable, path: Path) -> int:
    """Write ``index`` to ``path``, replacing what is there, and return its bytes.

    Raises OSError, and what reading the vectors raises where ``factory.prepare`` has left that for now.
    """
    with path.open("wb", buffering=_WRITE_BUFFER) as stream:
        container.write(stream, index.index_type, index.blobs())
        return stream.tell()


def load(path: Path, shape: Shape) -> StorableIndex:
    """Read an index of vectors of ``shape``.

    Raises SegmentMissing (no such file), SegmentDamaged (cut, or not of this shape), IndexUnreadable (of a kind that
    this node cannot search, such as the graphs of a Milvus 1.x node) or OSError.
    """
    try:
        with path.open("rb") as stream:
            number, blobs = container.read(stream)
            if number not in _BLOBS or set(blobs) != _BLOBS[IndexType(number)]:
                raise IndexUnreadable(f"type {number} with parts {sorted(blobs)} is not an index this node can read")
            index = _read(IndexType(number), blobs, shape)
    except FileNotFoundError as error:
        raise SegmentMissing(f"index file {path} does not exist") from error
    except (SegmentDamaged, IndexUnreadable) as error:
        raise type(error)(f"index file {path}: {error}") from error
    if (index.rows, index.dimension) != (shape.rows, shape.dimension):
        found = f"{index.rows} rows of {index.dimension} dimensions"
        raise SegmentDamaged(f"index file {path} holds {found}, expected {shape.rows} of {shape.dimension}")
    return index


def _read(index_type: IndexType, blobs: dict[str, BlobReader], shape: Shape) -> StorableIndex:
    if index_type is IndexType.BIN_IVF_FLAT:
        return binary_ivf.read(blobs, shape.metric, shape.dimension)
    if index_type is IndexType.ANNOY:
        return forest.read(blobs[forest.BLOB], shape.metric, shape.dimension)
    (blob,) = blobs.values()
    index: Any = faiss_calls.read(blob)
    dimension, metric = ivf.padded_dimension(index_type, shape.dimension), faiss_calls.metric_of(shape.metric)
    right_class = isinstance(index, _faiss_classes(index_type))
    if not right_class or (index.d, index.metric_type) != (dimension, metric):
        found = f"{type(index).__name__} of {index.d} dimensions, faiss metric {index.metric_type}"
        raise SegmentDamaged(f"{index_type.name} holds a {found}, expected {dimension} dimensions, {shape.metric.name}")
    huge_pages.gather(faiss_calls.memory_of(index))
    if index_type is IndexType.HNSW:
        return graph.HnswIndex(index, shape.metric)
    if index_type is IndexType.RNSG:
        return graph.NsgIndex(index, shape.metric)
    return ivf.IvfIndex(index, index_type, shape.metric, shape.dimension)


def _faiss_classes(index_type: IndexType) -> tuple[type, ...]:
    f = faiss()
    return {
        IndexType.IVF_FLAT: (f.IndexIVFFlat,),
        IndexType.IVF_SQ8: (f.IndexIVFScalarQuantizer,),
        IndexType.IVF_PQ: (f.IndexIVFPQ,),
        IndexType.HNSW: (f.IndexHNSWFlat,),
        IndexType.RNSG: (f.IndexNSGFlat, f.IndexFlat),
    }[index_type]
