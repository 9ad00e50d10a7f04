"""Calls into faiss in the terms of this package: answers out, deleted rows in, memory views, streams.

The functions take and return faiss objects as they are; only the adapters of this package use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from milvus_node.errors import SegmentDamaged
from milvus_node.index.api import Deleted
from milvus_node.index.container import Blob, BlobReader
from milvus_node.index.engine import faiss
from milvus_node.index.huge_pages import Block
from milvus_node.index.ranking import pack, ranked, strictly_ranked, to_topk
from mishards.kinds import MetricType
from mishards.topk import TopK

_BUFFER_BYTES = 1 << 20
_ID_BYTES, _LINK_BYTES = 8, 4


class LiveRows:
    """The selector of all rows but the deleted; it owns the bitmap that faiss points into."""

    def __init__(self, deleted: Deleted) -> None:
        self._bitmap = np.packbits(~deleted, bitorder="little")
        self.selector = faiss().IDSelectorBitmap(len(self._bitmap), faiss().swig_ptr(self._bitmap))


def metric_of(metric: MetricType) -> int:
    """The number that faiss has for ``metric`` of float vectors."""
    return int(faiss().METRIC_INNER_PRODUCT if metric.larger_is_nearer else faiss().METRIC_L2)


def search(index: Any, x: NDArray[np.float32], k: int, metric: MetricType, params: Any = None) -> TopK:
    """What ``index`` finds, [nq, k], in the order (distance, row)."""
    larger_is_nearer = metric.larger_is_nearer
    distances, rows = index.search(x, k, params=params)
    if strictly_ranked(distances, rows, larger_is_nearer=larger_is_nearer):
        return TopK(rows, distances)
    if not larger_is_nearer:
        np.maximum(distances, 0, out=distances)  # what codes approximate may come out just below
    return to_topk(
        ranked(pack(distances, rows, larger_is_nearer=larger_is_nearer), k), larger_is_nearer=larger_is_nearer
    )


def stored_vectors(flat: Any) -> NDArray[np.float32]:
    """A view float32[n, dimension] of the vectors in an ``IndexFlat``, which must outlive it."""
    flat = faiss().downcast_index(flat)
    view: NDArray[np.float32] = faiss().rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return view.reshape(flat.ntotal, flat.d)


def memory_of(index: Any) -> Iterator[Block]:
    """What a search of an index with inverted lists or a graph reads."""
    f, size = faiss(), int(index.code_size) if hasattr(index, "code_size") else 0
    if isinstance(index, f.IndexIVF):
        lists = index.invlists
        for number in range(index.nlist):
            rows = int(lists.list_size(number))
            if rows:
                yield int(lists.get_codes(number)), rows * size
                yield int(lists.get_ids(number)), rows * _ID_BYTES
    elif isinstance(index, f.IndexHNSW | f.IndexNSG):
        vectors = stored_vectors(index.storage)
        yield vectors.ctypes.data, vectors.nbytes
    if isinstance(index, f.IndexHNSW):
        links = index.hnsw.neighbors
        yield int(links.data()), int(links.size()) * _LINK_BYTES


def blob(name: str, index: Any) -> Blob:
    """The index in faiss's own format, streamed when it is written. What the stream raises passes through."""

    def write(stream: BinaryIO) -> None:
        faiss().write_index(index, faiss().PyCallbackIOWriter(stream.write, _BUFFER_BYTES))

    return Blob(name, write)


def read(source: BlobReader) -> Any:
    """Read an index in faiss's own format. Raises SegmentDamaged."""
    try:
        return faiss().read_index(faiss().PyCallbackIOReader(source.read, _BUFFER_BYTES))
    except (RuntimeError, MemoryError) as error:  # a damaged length asks for any amount of memory
        raise SegmentDamaged(f"faiss cannot read the index: {error!r}") from error
