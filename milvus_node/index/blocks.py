"""Vectors that need not be in memory as a whole, and the blocks in which they are worked through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 16 << 20
BLOCK_ROWS = 1 << 16


class VectorRows(Protocol):
    """Vectors [n, width]: an array, or what reads the rows that it is sliced for and may raise for it."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Rows and width."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def row_bytes(vectors: VectorRows) -> int:
    """Bytes of one row."""
    return int(vectors.shape[1]) * vectors.dtype.itemsize


def blocks(vectors: VectorRows) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the number of its first row with each block, in order; a block has at least one row, however large."""
    step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes(vectors)))
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]
