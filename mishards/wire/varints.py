"""Arrays of int64 as packed varints and back, without touching single elements.

The format is that of a packed ``repeated int64`` field (https://protobuf.dev/programming-guides/encoding/#packed).
Both ways go through an array of *cells*, one a number, a byte for each group of seven bits. The 56 lowest bits are
moved between 64-bit words and cells by three shift-and-mask steps, as in a bit interleave.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_BYTES: Final = 10
"""Bytes of the longest varint; every negative number takes as many."""

_CELL_OF_10 = np.dtype([("low", "<u8"), ("ninth", "u1"), ("sign", "u1")])
_CELL_OF_9 = np.dtype([("low", "<u8"), ("ninth", "u1")])
_CELL_OF_8 = np.dtype([("low", "<u8")])

_STEPS = (
    (28, 0x000000000FFFFFFF, 4),
    (14, 0x00003FFF00003FFF, 2),
    (7, 0x007F007F007F007F, 1),
)
"""Per step: the width of half a group, the mask of the low halves, by how much the high halves move."""

_COLUMNS = np.arange(MAX_BYTES, dtype=np.uint8)
_CONTINUED = np.array(
    [0x8080808080808080 & ((1 << 8 * (size - 1)) - 1 if size else 0) for size in range(11)], np.uint64
)
"""Continuation bits of the first eight bytes, by the bytes of the varint."""


def encode_varints(values: NDArray[np.int64]) -> bytes:
    """Encode int64[n] as packed varints."""
    if not len(values):
        return b""
    bits = np.ascontiguousarray(values, dtype=np.int64).view(np.uint64)
    sizes = _sizes(bits)
    longest = int(sizes.max())
    cells = np.empty(len(bits), _cell(longest))
    cells["low"] = _spread(bits) | _CONTINUED.take(sizes)
    if longest > 8:
        cells["ninth"] = (bits >> np.uint64(56)) & np.uint64(0x7F) | (sizes > 9) * np.uint64(0x80)
    if longest > 9:
        cells["sign"] = bits >> np.uint64(63)
    if int(sizes.min()) == longest:
        return _opaque(cells, longest).tobytes()
    table = cells.view(np.uint8).reshape(len(cells), -1)[:, :longest]
    return table[_COLUMNS[:longest] < sizes[:, None]].tobytes()


def decode_varints(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode packed varints, uint8[bytes], to int64[n].

    Raises:
        ValueError: the last varint does not end, or one is longer than ten bytes.
    """
    if not len(packed):
        return np.empty(0, np.int64)
    width = uniform_width(packed)
    if width:
        cells = np.zeros(len(packed) // width, _cell(width))
        _opaque(cells, width)[:] = packed.view(f"V{width}")
    else:
        cells = _ragged_cells(packed)
    bits = _gather(cells["low"])
    if cells.itemsize > 8:
        bits |= (cells["ninth"] & 0x7F).astype(np.uint64) << np.uint64(56)
    if cells.itemsize > 9:
        bits |= cells["sign"].astype(np.uint64) << np.uint64(63)
    return bits.view(np.int64)


def uniform_width(packed: NDArray[np.uint8]) -> int:
    """Return how many bytes each varint takes when all take equally many, else 0."""
    count = count_varints(packed)
    if not count:
        return 0
    width, rest = divmod(len(packed), count)
    if rest or width > MAX_BYTES or not (packed[width - 1 :: width] < 0x80).all():
        return 0
    return width


def longest_varint(packed: NDArray[np.uint8]) -> int:
    """Return the bytes of the longest varint that ends in ``packed``."""
    return uniform_width(packed) or int(np.diff(np.flatnonzero(packed < 0x80), prepend=-1).max(initial=0))


def count_varints(packed: NDArray[np.uint8]) -> int:
    """Return how many varints end in ``packed``."""
    return int(np.count_nonzero(packed.view(np.int8) >= 0))


def _ragged_cells(packed: NDArray[np.uint8]) -> NDArray[np.void]:
    ends = np.flatnonzero(packed < 0x80)
    sizes = np.diff(ends, prepend=-1)
    longest = int(sizes.max(initial=0))
    if longest > MAX_BYTES or packed[-1] >= 0x80:
        raise ValueError("packed varints end inside a number, or one is longer than ten bytes")
    cells: NDArray[np.void] = np.zeros(len(ends), _cell(longest))
    table = cells.view(np.uint8).reshape(len(cells), -1)[:, :longest]
    table[_COLUMNS[:longest] < sizes[:, None]] = packed
    return cells


def _cell(longest: int) -> np.dtype[np.void]:
    return (_CELL_OF_10 if longest > 9 else _CELL_OF_9) if longest > 8 else _CELL_OF_8


def _opaque(cells: NDArray[np.void], width: int) -> NDArray[np.void]:
    """View the first ``width`` bytes of each cell."""
    view: NDArray[np.void] = np.ndarray(len(cells), f"V{width}", cells, strides=(cells.itemsize,))
    return view


def _sizes(bits: NDArray[np.uint64]) -> NDArray[np.uint8]:
    smallest, largest = int(bits.min()), int(bits.max())
    sizes = np.full(len(bits), max(1, -(-smallest.bit_length() // 7)), np.uint8)
    for shift in range(7 * int(sizes[0]), largest.bit_length(), 7):
        sizes += bits >= np.uint64(1 << shift)
    return sizes


def _spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put each seven of the 56 lowest bits into a byte of their own."""
    for half, mask, by in _STEPS:
        bits = bits & np.uint64(mask) | (bits & np.uint64(mask << half)) << np.uint64(by)
    return bits


def _gather(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Undo ``_spread``, whatever the highest bit of each byte is."""
    for half, mask, by in reversed(_STEPS):
        bits = bits & np.uint64(mask) | bits >> np.uint64(by) & np.uint64(mask << half)
    return bits
