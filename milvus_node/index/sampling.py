"""The rows that k-means sees: a seeded sample, bounded in bytes, in the order of the file."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

SAMPLE_BYTES = 256 << 20
"""A sample is no larger, unless one row for each centroid is."""

_SEED = 20201


def training_sample(vectors: NDArray[_T], centroids: int, rows_per_centroid: int) -> NDArray[_T]:
    """Draw from ``vectors`` [n > 0, width] ``rows_per_centroid`` rows for each of ``centroids``, or all there are.

    The sample has at least one row for each centroid: rows repeat where n is smaller. A sample of all rows is
    ``vectors`` itself.
    """
    rows, row_bytes = len(vectors), vectors[0].nbytes
    if rows < centroids:
        return np.resize(vectors, (centroids, vectors.shape[1]))
    wanted = max(centroids, min(centroids * rows_per_centroid, SAMPLE_BYTES // row_bytes))
    if rows <= wanted:
        return vectors
    drawn = np.random.default_rng(_SEED).choice(rows, wanted, replace=False, shuffle=False)
    sample: NDArray[_T] = vectors[np.sort(drawn)]
    return sample
