"""What an answer is: the k nearest of each query, and how partial answers become one.

Numpy and faiss-free; no I/O, no clock, no protobuf.

Invariants of a ``TopK``: both arrays are [nq, k]; an empty place has id ``NO_ID`` and stands behind every hit of its
row; hits are in the metric's order (ascending, or descending for IP).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_ID = -1
"""The id of a place that no hit fills."""

EMPTY_DISTANCE = np.float32(3.4028234663852886e38)
"""FLT_MAX: the distance of an unfilled place, whatever the metric."""


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """``ids`` int64[nq, k] and ``distances`` float32[nq, k], row by row."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
