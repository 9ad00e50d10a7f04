"""Order hits by (distance, row), with both in one integer.

A *key* is an int64: the distance as its `mishards.topk.rank`, of which the smaller is nearer, above the 32 bits of the
row number. Sorting keys sorts by distance and, among equal distances, by row; so the nearest k are the same whatever
the order in which rows were met. ``EMPTY`` sorts behind every hit. A distance that is NaN is no hit.

Pure arrays: the module knows no index, and of a metric only its direction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK, rank

Keys = NDArray[np.int64]

EMPTY = np.int64(0x7FFF_FFFF_FFFF_FFFF)
"""The key of no hit."""

_ROW_BITS = 32
_ROW_MASK = 0xFFFF_FFFF
_SPARE = 1 << 16


def pack(distances: NDArray[np.float32], rows: NDArray[np.signedinteger], *, larger_is_nearer: bool = False) -> Keys:
    """Keys of ``distances`` float32[...] and ``rows`` int[...], which broadcast; a row below 0 is no hit."""
    keys = rank(distances, larger_is_nearer).astype(np.int64)
    keys <<= _ROW_BITS
    keys |= rows
    keys[np.isnan(distances) | (rows < 0)] = EMPTY
    return keys


def distances_of(keys: Keys, *, larger_is_nearer: bool = False) -> NDArray[np.float32]:
    """The distances float32[...] that went into ``keys``; that of ``EMPTY`` is EMPTY_DISTANCE."""
    ranks = (keys >> _ROW_BITS).astype(np.int32)
    if larger_is_nearer:
        np.invert(ranks, out=ranks)
    ranks ^= (ranks >> 31) & np.int32(0x7FFF_FFFF)
    distances: NDArray[np.float32] = ranks.view(np.float32)
    distances[keys == EMPTY] = EMPTY_DISTANCE
    return distances


def rows_of(keys: Keys) -> NDArray[np.int64]:
    """The rows int64[...] that went into ``keys``; that of ``EMPTY`` is NO_ID."""
    rows: NDArray[np.int64] = (keys & _ROW_MASK).astype(np.int64)
    rows[keys == EMPTY] = NO_ID
    return rows


def keep_nearest(keys: Keys, k: int) -> Keys:
    """The k smallest of each row of ``keys`` [..., n], in no order; all of them when n <= k. May reorder ``keys``."""
    if keys.shape[-1] <= k:
        return keys
    keys.partition(k - 1, axis=-1)
    return keys[..., :k]


def ranked(keys: Keys, k: int) -> Keys:
    """The k smallest of each row of ``keys`` [nq, n], in order, then ``EMPTY``, to [nq, k]. May reorder ``keys``."""
    nearest = np.sort(keep_nearest(keys, k), axis=-1)
    missing = k - nearest.shape[1]
    if not missing:
        return nearest
    return np.pad(nearest, ((0, 0), (0, missing)), constant_values=EMPTY)


def to_topk(keys: Keys, *, larger_is_nearer: bool = False) -> TopK:
    """The answer that ranked ``keys`` [nq, k] hold."""
    return TopK(ids=rows_of(keys), distances=distances_of(keys, larger_is_nearer=larger_is_nearer))


def strictly_ranked(distances: NDArray[np.float32], rows: NDArray[np.int64], *, larger_is_nearer: bool = False) -> bool:
    """Are the hits [nq, k] already as ranking would leave them: full, in order, no ties, no NaN, none below 0?"""
    near, far = distances[:, :-1], distances[:, 1:]
    if rows[:, -1].min() < 0:
        return False
    if larger_is_nearer:
        return bool((near > far).all() and (distances[:, 0] >= -np.inf).all())
    return bool((near < far).all() and (distances[:, 0] >= 0).all())


class Nearest:
    """Collects keys block by block and holds little more than the k smallest of each query. For one thread."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._blocks: list[Keys] = []
        self._width = 0

    def add(self, keys: Keys) -> None:
        """Take in ``keys`` [nq, n] of any n, which may be reordered. Few of many are copied: the rest can be freed."""
        block = keep_nearest(keys, self._k).copy() if keys.shape[1] > self._k else keys
        self._blocks.append(block)
        self._width += block.shape[1]
        if self._width > 2 * self._k + _SPARE:
            self._blocks = [keep_nearest(np.concatenate(self._blocks, axis=1), self._k).copy()]
            self._width = self._blocks[0].shape[1]

    def ranked(self) -> Keys:
        """The k smallest of each query, in order, padded with ``EMPTY`` to [nq, k]."""
        blocks = self._blocks
        return ranked(blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1), self._k)
