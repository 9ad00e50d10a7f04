"""What an answer is: the k nearest of each query, and how partial answers become one.

Numpy and faiss-free; no I/O, no clock, no protobuf.

Invariants of a ``TopK``: both arrays are [nq, k]; an empty place has id ``NO_ID`` and stands behind every hit of its
row; hits are in the metric's order (ascending, or descending for IP).

A merge trusts none of that in what it is given. Its answer is in the order (distance, id), which does not depend on
how the hits were spread over the parts; NaN is behind every number, an empty place behind every hit. Distances are
compared as *ranks*: int32 that sort like the distances. A rank and a position share one int64, so that the sort is
the one of plain integers, which numpy vectorises; only rows with equal ranks look at ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_ID: Final = -1
"""The id of a place that no hit fills."""

EMPTY_DISTANCE: Final = np.float32(3.4028234663852886e38)
"""FLT_MAX: the distance of an unfilled place, whatever the metric."""

Ids = NDArray[np.int64]
Distances = NDArray[np.float32]
Ranks = NDArray[np.int32]
Slots = NDArray[np.int64]

EMPTY_RANK: Final = np.int32(0x7FFFFFFF)
"""The rank of an empty place: behind NaN, which is behind every number."""
_NAN_RANK: Final = np.int32(0x7F800001)
_INFINITY_RANK: Final = np.int32(0x7F800000)
_SLOT_MASK: Final = 0xFFFFFFFF
_FEW: Final = 4096  # candidates; below this the search for a bound costs more than it saves


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """``ids`` int64[nq, k] and ``distances`` float32[nq, k], row by row."""

    ids: Ids
    distances: Distances


def merge(parts: Sequence[TopK], k: int, larger_is_nearer: bool) -> TopK:
    """Return the ``k`` nearest hits of each query over all parts, in the order (distance, id).

    The parts answer the same queries; their widths may differ. Ids may repeat: each is a row of its own. An id of
    ``NO_ID`` is no hit wherever it stands. Rows with fewer than ``k`` hits are filled up with ``NO_ID`` and
    ``EMPTY_DISTANCE``.
    """
    if not parts:
        return _empty(0, k)
    ids, distances = _stack(parts)
    ranks = rank(distances, larger_is_nearer)
    empty = ids == NO_ID
    if empty.any():
        ranks = np.where(empty, EMPTY_RANK, ranks)
    slots = select(ranks, k, ids.ravel().take)
    merged = _empty(slots.shape[0], k)
    width = slots.shape[1]
    merged.ids[:, :width] = ids.ravel().take(slots)
    merged.distances[:, :width] = distances.ravel().take(slots)
    merged.distances[merged.ids == NO_ID] = EMPTY_DISTANCE
    return merged


def rank(distances: Distances, larger_is_nearer: bool) -> Ranks:
    """Return int32 of the same shape that sort as the distances do, the nearest first and NaN last."""
    ranks: Ranks = distances.view(np.int32)
    if ranks.size and not larger_is_nearer and ranks.min() >= 0 and ranks.max() <= _INFINITY_RANK:
        return ranks  # no sign, no NaN: the bits of a float sort as it does
    ranks = (distances + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    ranks ^= (ranks >> 31) & np.int32(0x7FFFFFFF)
    if larger_is_nearer:
        np.invert(ranks, out=ranks)
    ranks[np.isnan(distances)] = _NAN_RANK
    return ranks


def select(ranks: Ranks, k: int, ids_of: Callable[[Slots], Ids]) -> Slots:
    """Return where the nearest hits of each query stand: int64[nq, min(k, parts * width)], nearest first.

    ``ranks`` is int32[parts, nq, width], with fewer than 2**32 elements. A slot is a position in its flat form.
    ``ids_of`` returns the ids at slots; it is asked only where ranks are equal.
    """
    parts, rows, width = ranks.shape
    k = min(k, parts * width)
    keys = _keys_in_reach(ranks, k)
    keys = keys[:, : _reach(keys, k)]
    slots: Slots = keys & _SLOT_MASK
    slots += np.arange(rows)[:, None] * width
    keys >>= 32
    same = (keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] != EMPTY_RANK)
    if same.any():
        _order_ties(slots, same, ids_of)
    return slots[:, :k]


def _keys_in_reach(ranks: Ranks, k: int) -> NDArray[np.int64]:
    """Return the sorted keys of each query, at least of all candidates that rank no worse than its k-th.

    The k-th of all is no worse than the worst of the parts' (k / parts)-th: columns that hold nothing better are left
    out. Where a part was not in order, that bound may be too good; then everything is sorted.
    """
    parts, _, width = ranks.shape
    if ranks.size > _FEW and parts * width > k:
        bound = ranks[:, :, -(-k // parts) - 1].max(axis=0)
        kept = int((ranks <= bound[:, None]).any(axis=(0, 1)).nonzero()[0][-1]) + 1
        keys = _sorted_keys(ranks, kept)
        if (keys[:, k - 1] >> 32 <= bound).all():
            return keys
    return _sorted_keys(ranks, width)


def _sorted_keys(ranks: Ranks, kept: int) -> NDArray[np.int64]:
    """Return rank (upper half) and slot, the query's own offset left out (lower half), of the first columns."""
    parts, rows, width = ranks.shape
    slots = np.arange(parts)[:, None] * (rows * width) + np.arange(kept)
    keys: NDArray[np.int64] = (
        ranks[:, :, :kept].transpose(1, 0, 2).astype(np.int64, order="C").reshape(rows, parts * kept)
    )
    keys <<= 32
    keys |= slots.ravel()
    keys.sort(axis=1)
    return keys


def _reach(keys: NDArray[np.int64], k: int) -> int:
    """Return how many columns of sorted keys hold all that rank no worse than some row's k-th."""
    if keys.shape[1] == k:
        return k
    last = keys[:, k - 1 : k] >> 32
    if not ((keys[:, k : k + 1] >> 32 == last) & (last != EMPTY_RANK)).any():
        return k
    worse = np.minimum(last, EMPTY_RANK - 1) + 1 << 32
    return max(k, int((keys < worse).sum(axis=1).max()))


def _order_ties(slots: Slots, same: NDArray[np.bool_], ids_of: Callable[[Slots], Ids]) -> None:
    """Sort, in place, each row's slots of equal rank by id. ``same`` says which have the rank of the one before."""
    edge = np.zeros((len(slots), 1), np.bool_)
    as_before = np.hstack((edge, same))
    tied = np.flatnonzero(as_before | np.hstack((same, edge)))
    groups = np.cumsum(~as_before.ravel()[tied])
    tied_slots = slots.ravel()[tied]
    by_id = np.argsort(ids_of(tied_slots))
    keys = groups[by_id] << 32 | np.arange(len(tied))
    keys.sort()
    slots.ravel()[tied] = tied_slots[by_id[keys & _SLOT_MASK]]


def _stack(parts: Sequence[TopK]) -> tuple[Ids, Distances]:
    """Return ids and distances as [parts, nq, width of the widest]."""
    rows, width = parts[0].ids.shape[0], max(part.ids.shape[1] for part in parts)
    ids = np.full((len(parts), rows, width), NO_ID, np.int64)
    distances = np.full((len(parts), rows, width), EMPTY_DISTANCE, np.float32)
    for at, part in enumerate(parts):
        ids[at, :, : part.ids.shape[1]] = part.ids
        distances[at, :, : part.distances.shape[1]] = part.distances
    return ids, distances


def _empty(rows: int, k: int) -> TopK:
    return TopK(np.full((rows, k), NO_ID, np.int64), np.full((rows, k), EMPTY_DISTANCE, np.float32))
