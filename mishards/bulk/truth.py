"""The exact nearest rows of some queries, from a stream of rows; holds no more than the best so far. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mishards.bulk.sources.api import Ids
from mishards.kinds import MetricType

Floats = NDArray[np.float32]


class Truth:
    """The ``k`` nearest of each query, float32[nq, dim], among the rows added so far; by L2 or IP."""

    def __init__(self, queries: Floats, k: int, metric: MetricType) -> None:
        self._queries = queries.astype(np.float64)
        self._k, self._metric = k, metric
        self._ids = np.empty((len(queries), 0), np.int64)
        self._keys = np.empty((len(queries), 0))

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Look at rows, float32[n, dim], with their ids, int64[n]."""
        rows = vectors.astype(np.float64)
        keys = -(self._queries @ rows.T)
        if self._metric is not MetricType.IP:
            keys = 2 * keys + (rows**2).sum(axis=1)  # |q - r|² without |q|², which changes no order
        every = np.hstack([self._keys, keys])
        numbers = np.hstack([self._ids, np.broadcast_to(ids, keys.shape)])
        best = np.argsort(every, axis=1, kind="stable")[:, : self._k]
        self._keys = np.take_along_axis(every, best, axis=1)
        self._ids = np.take_along_axis(numbers, best, axis=1)

    def recall(self, found: list[list[int]]) -> float:
        """The share of the nearest that are in ``found``, the answers' ids; 1 where there is nothing to find."""
        wanted = self._ids.tolist()
        hits = sum(len(set(want) & set(have)) for want, have in zip(wanted, found, strict=True))
        return hits / self._ids.size if self._ids.size else 1.0
