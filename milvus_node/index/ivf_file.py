"""An IVF index that goes straight from the file of its vectors to the file of the index, a block at a time.

What is in memory is the trained quantizers, the number of the list of each row, and one block. The file is what faiss
writes of an index with ``ArrayInvertedLists`` (``faiss/impl/index_write.cpp``): the header of the index, then

    "ilar"  u64 nlist  u64 code size  "full"  u64 nlist  u64[nlist] sizes
    for each list: its codes, then its rows as int64
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.index import ivf
from milvus_node.index.api import BuildParams
from milvus_node.index.blocks import VectorRows, blocks
from milvus_node.index.container import Blob
from milvus_node.index.engine import faiss, one_thread
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType

_NO_LISTS = b"sprs" + struct.pack("<Q", 0)
"""How faiss ends an index without rows: the sizes of no list."""
_LAYOUT, _COUNT = b"full", struct.Struct("<Q")
_ROW_BYTES = 8


class IvfFile:
    """What ``ivf.build`` of the same input would write, without it; ``vectors`` are read once more for that."""

    def __init__(self, index_type: IndexType, trained: Any, vectors: VectorRows, lists: NDArray[np.int32]) -> None:
        """``lists`` int32[n] is the list of each row, -1 for none; ``trained`` has no rows."""
        self.index_type: Final = index_type
        self._trained = trained
        self._vectors = vectors
        self._lists = lists

    def blobs(self) -> Sequence[Blob]:
        """One part, in faiss's format."""
        return [Blob(ivf.BLOB, self._write)]

    def _write(self, stream: BinaryIO) -> None:
        code_size = int(self._trained.code_size)
        sizes = np.bincount(self._lists[self._lists >= 0], minlength=self._trained.nlist)
        stream.write(self._head() + _LAYOUT + _COUNT.pack(len(sizes)) + sizes.astype("<u8").tobytes())
        ends = stream.tell() + np.cumsum(sizes) * (code_size + _ROW_BYTES)
        rows_at = ends - sizes * _ROW_BYTES
        codes_at = rows_at - sizes * code_size
        for start, block in blocks(self._vectors):
            lists = self._lists[start : start + len(block)]
            order = np.argsort(lists, kind="stable")
            codes = self._encoded(block, lists)[order]
            rows = (start + order).astype("<i8")
            present, firsts = np.unique(lists[order], return_index=True)
            for number, first, last in zip(present, firsts, [*firsts[1:], len(order)], strict=True):
                if number >= 0:
                    _write_at(stream, codes_at, number, codes[first:last])
                    _write_at(stream, rows_at, number, rows[first:last])
        stream.seek(int(ends[-1]))

    def _head(self) -> bytes:
        """All that comes before the sizes of the lists, by writing the index without its rows."""
        trained = self._trained
        trained.ntotal = len(self._vectors)
        try:
            written: bytes = faiss().serialize_index(trained).tobytes()
        finally:
            trained.ntotal = 0
        if not written.endswith(_NO_LISTS):
            raise BuildFailed(f"faiss {faiss().__version__} writes inverted lists in a form that is not known here")
        return written.removesuffix(_NO_LISTS)

    def _encoded(self, block: NDArray[np.float32], lists: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The codes uint8[m, code size] of a block as its ``lists`` keep them."""
        x = np.ascontiguousarray(ivf.padded(block, self._trained.d))
        wide = lists.astype(np.int64)
        codes = np.empty((len(x), self._trained.code_size), np.uint8)
        pointer = faiss().swig_ptr
        self._trained.encode_vectors(len(x), pointer(x), pointer(wide), pointer(codes))
        return codes


def _write_at(stream: BinaryIO, places: NDArray[np.int64], number: int, content: NDArray[Any]) -> None:
    """Write ``content`` where list ``number`` goes on, and move that place behind it."""
    stream.seek(int(places[number]))
    stream.write(content.data)
    places[number] += content.nbytes


def prepare(index_type: IndexType, metric: MetricType, vectors: VectorRows, params: BuildParams) -> IvfFile:
    """Train an index of ``vectors`` float32[n > 0, dimension] and find the list of each row. Raises BuildFailed."""
    index = ivf.trained(index_type, metric, vectors, params)
    lists = np.empty(len(vectors), np.int32)
    with one_thread():
        for start, block in blocks(vectors):
            x = np.ascontiguousarray(ivf.padded(block, index.d))
            lists[start : start + len(block)] = index.quantizer.search(x, 1)[1][:, 0]
    return IvfFile(index_type, index, vectors, lists)
