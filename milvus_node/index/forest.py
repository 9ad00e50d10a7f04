"""ANNOY over float vectors: the trees of the ``annoy`` package, which is optional.

The trees live in anonymous memory of the kernel that looks like a file (``memfd_create``), because the package can
only build in place, save and load by path. So an index is in memory once, and its bytes can be streamed.

The package answers one query at a time, without the interpreter lock, and knows no deleted rows: more hits are asked
for, and the deleted dropped; asked for every row, it visits every row.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from milvus_node.errors import IndexUnreadable, SegmentDamaged
from milvus_node.index.api import BuildParams, Deleted, SearchParams, Vectors, check_search, live_rows
from milvus_node.index.container import Blob, BlobReader
from milvus_node.index.ranking import EMPTY, Keys, pack, ranked, to_topk
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType
from mishards.topk import TopK

BLOB = "annoy"
"""The name of the one part of an index file: what the package itself would save."""

_BUFFER_BYTES = 1 << 20
_LARGEST_SEARCH_K = (1 << 31) - 1
_MISSING = "index type ANNOY needs the Python package annoy, which this node has not: install mishards[annoy]"
_SEED = 1234
_SPARE = 16


class ForestIndex:
    """Built trees over ``rows`` rows, in the memory behind the descriptor ``memory``, which the index then owns."""

    index_type = IndexType.ANNOY

    def __init__(self, trees: Any, memory: int, metric: MetricType, dimension: int) -> None:
        self.metric: Final = metric
        self.rows: Final = int(trees.get_n_items())
        self.dimension: Final = dimension
        self._trees = trees
        self._memory = memory
        weakref.finalize(self, os.close, memory)

    @property
    def memory_bytes(self) -> int:
        return os.fstat(self._memory).st_size

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
        live = live_rows(self, deleted)
        fetch = k if deleted is None else (k + _SPARE) * self.rows // max(1, live)
        keys = np.full((len(queries), k), EMPTY)
        search_k = -1 if params.search_k < 0 else min(params.search_k, _LARGEST_SEARCH_K)
        for number, query in enumerate(queries):
            found = self._nearest(query, fetch, search_k, deleted)
            if np.count_nonzero(found != EMPTY) < min(k, live):
                found = self._nearest(query, self.rows, -1, deleted)
            keys[number] = ranked(found, k)[0]
        return to_topk(keys, larger_is_nearer=self.metric.larger_is_nearer)

    def blobs(self) -> Sequence[Blob]:
        """One part: what the package would save."""
        return [Blob(BLOB, self._copy)]

    def _nearest(self, query: NDArray[Any], fetch: int, search_k: int, deleted: Deleted | None) -> Keys:
        """Keys [1, n] of at most ``fetch`` rows found."""
        hits = self._trees.get_nns_by_vector(query.tolist(), min(fetch, self.rows), search_k, include_distances=True)
        rows, distances = np.array(hits[0], np.int64), np.array(hits[1], np.float64)
        if not self.metric.larger_is_nearer:
            distances *= distances  # the package takes the root
        keys = pack(distances.astype(np.float32), rows, larger_is_nearer=self.metric.larger_is_nearer)
        if deleted is not None:
            keys[deleted[rows]] = EMPTY
        return keys[None]

    def _copy(self, stream: BinaryIO) -> None:
        with Path(_path(self._memory)).open("rb") as trees:
            shutil.copyfileobj(trees, stream, _BUFFER_BYTES)


def build(metric: MetricType, vectors: NDArray[np.float32], params: BuildParams) -> ForestIndex:
    """Build trees over ``vectors`` float32[n > 0, dimension]. Raises BuildFailed without the package."""
    if _package() is None:
        raise BuildFailed(_MISSING)
    dimension = vectors.shape[1]
    trees = _trees(metric, dimension)
    trees.set_seed(_SEED)
    with _memory() as memory:
        trees.on_disk_build(_path(memory))
        for row, vector in enumerate(vectors):
            trees.add_item(row, vector)
        trees.build(params.n_trees, n_jobs=1)
        return ForestIndex(trees, os.dup(memory), metric, dimension)


def read(source: BlobReader, metric: MetricType, dimension: int) -> ForestIndex:
    """Read what `ForestIndex.blobs` wrote. Raises IndexUnreadable without the package, SegmentDamaged."""
    if _package() is None:
        raise IndexUnreadable(_MISSING)
    trees = _trees(metric, dimension)
    with _memory() as memory:
        with Path(_path(memory)).open("wb") as target:
            while data := source.read(_BUFFER_BYTES):
                target.write(data)
        try:
            trees.load(_path(memory))
        except OSError as error:
            raise SegmentDamaged(f"annoy cannot read the index: {error}") from error
        return ForestIndex(trees, os.dup(memory), metric, dimension)


@functools.cache
def _package() -> Any:
    """The package, or None where it is not installed."""
    try:
        return importlib.import_module("annoy")
    except ImportError:
        return None


def _trees(metric: MetricType, dimension: int) -> Any:
    return _package().AnnoyIndex(dimension, "dot" if metric.larger_is_nearer else "euclidean")


@contextmanager
def _memory() -> Iterator[int]:
    """A descriptor of fresh anonymous memory, closed at the end; a duplicate keeps the memory."""
    memory = os.memfd_create("annoy")
    try:
        yield memory
    finally:
        os.close(memory)


def _path(memory: int) -> str:
    return f"/proc/self/fd/{memory}"
