"""The rows that k-means sees: a seeded sample, bounded in bytes, in the order of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvus_node.index.blocks import VectorRows, blocks, row_bytes

SAMPLE_BYTES = 128 << 20
"""A sample is no larger, unless one row for each centroid is."""

_SEED = 20201


def training_sample(vectors: VectorRows, centroids: int, rows_per_centroid: int) -> NDArray[Any]:
    """Draw from ``vectors`` [n > 0, width] ``rows_per_centroid`` rows for each of ``centroids``, or all there are.

    The sample has at least one row for each centroid: rows repeat where n is smaller. A sample of all rows of an array
    is a view of it.
    """
    rows = len(vectors)
    if rows < centroids:
        return np.resize(vectors[:], (centroids, vectors.shape[1]))
    wanted = max(centroids, min(centroids * rows_per_centroid, SAMPLE_BYTES // row_bytes(vectors)))
    if rows <= wanted:
        return vectors[:]
    drawn = np.sort(np.random.default_rng(_SEED).choice(rows, wanted, replace=False, shuffle=False))
    sample = np.empty((wanted, vectors.shape[1]), vectors.dtype)
    for start, block in blocks(vectors):
        first, last = np.searchsorted(drawn, (start, start + len(block)))
        sample[first:last] = block[drawn[first:last] - start]
    return sample
