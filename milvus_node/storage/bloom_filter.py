"""The ``bloom_filter`` of a segment: which ids may be in it, in the one form that a Milvus 1.x server opens.

This node never reads it. A Milvus server that takes the folder over needs it for deletes and for rows by id; it opens
filters of capacity 500,000 and error rate 0.01 only, so the file has 2,756,980 bytes however few the rows. The format
is that of the dablooms library (a scaling, counting Bloom filter), little endian:

    0   8  u64 the highest id         then for each filter, each with half the error rate of the one before:
    8   8  u64 1 + rows               0   8  u64 the lowest id that belongs into it
    16  8  zero                       8   4  u32 rows
                                      12  4  zero
                                      16  …  counters of 4 bits, the even one in the high half of its byte

Ids count as unsigned. A filter of error rate ``e`` has ``k = ceil(log2(1 / e))`` hash functions, and for each of them
``m = ceil(500000 * ln(1 / e) / (k * ln(2)^2))`` counters. Function ``i`` counts in its counter ``(h1 + i * h2) mod 2^32
mod m``, where ``h1`` and ``h2`` are the first two 32-bit words of MurmurHash3_x64_128 (seed 0x97c29b3a) of the id as
decimal text.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from milvus_node.storage.file_io import bytes_of

CAPACITY = 500_000
_ERROR_RATE = 0.01
_TIGHTENING = 0.5
_HIGHEST_COUNT = 15
_SEED = np.uint64(0x97C29B3A)
_TEXT_BYTES = 32  # room for "-9223372036854775808" in whole blocks of the hash
_BLOCK_BYTES = 16
_HEADER = struct.Struct("<QQQ")
_FILTER_HEADER = struct.Struct("<QII")

_Words = npt.NDArray[np.uint64]


def bloom_filter_of(ids: npt.NDArray[np.int64]) -> list[bytes | memoryview]:
    """The file for a segment with these ``ids`` (``int64[n]``), as buffers to write."""
    ordered = np.sort(ids.view(np.uint64))
    highest = int(ordered[-1]) if len(ordered) else 0
    buffers: list[bytes | memoryview] = [_HEADER.pack(highest, 1 + len(ordered), 0)]
    lowest = 0
    for number, part in enumerate(_parts(ordered)):
        buffers += (_FILTER_HEADER.pack(lowest, len(part), 0), _counters(part, number))
        lowest = int(part[-1]) + 1 if len(part) else 0
    return buffers


def _parts(ordered: _Words) -> Iterator[_Words]:
    """Cut ascending ids into the filters' shares: full but for one, equal ids never apart; one share at least."""
    start = 0
    while start == 0 or start < len(ordered):
        stop = min(start + CAPACITY - 1, len(ordered))
        if stop:
            stop = int(np.searchsorted(ordered, ordered[stop - 1], side="right"))
        yield ordered[start:stop]
        start = max(stop, 1)


def _counters(ids: _Words, number: int) -> memoryview:
    """The packed counters of filter ``number`` for its share of ids."""
    error_rate = _ERROR_RATE * _TIGHTENING ** (number + 1)
    functions = math.ceil(math.log(1 / error_rate) / math.log(2))
    per_function = math.ceil(CAPACITY * abs(math.log(error_rate)) / (functions * math.log(2) ** 2))
    hashes = _murmur3(ids.view(np.int64))
    first, second = hashes & np.uint64(0xFFFFFFFF), hashes >> np.uint64(32)
    counters = np.zeros(-(-functions * per_function // 2) * 2, np.uint8)
    for function in range(functions):
        places = (first + np.uint64(function) * second & np.uint64(0xFFFFFFFF)) % np.uint64(per_function)
        met = np.sort(places.astype(np.uint32))
        starts = np.flatnonzero(np.diff(met, prepend=~met[:1]))
        counts = np.minimum(np.diff(starts, append=len(met)), _HIGHEST_COUNT)
        counters[function * per_function : (function + 1) * per_function][met[starts]] = counts
    return bytes_of(counters[::2] << 4 | counters[1::2])


def _murmur3(ids: npt.NDArray[np.int64]) -> _Words:
    """The first 64 bits of MurmurHash3_x64_128 of each id's decimal text."""
    text = ids.astype(f"S{_TEXT_BYTES}")
    sizes = np.char.str_len(text).astype(np.uint64)
    words = text.view(np.uint64).reshape(-1, _TEXT_BYTES // 8).T
    # A text of 16 bytes or more is one block and a tail; a shorter one is a tail. Zeros behind a tail do not count.
    blocked = sizes >= _BLOCK_BYTES
    h1, h2 = np.full(len(ids), _SEED), np.full(len(ids), _SEED)
    h1b = _rotated(h1 ^ _mixed1(words[0]), 27) + h2
    h1b = h1b * np.uint64(5) + np.uint64(0x52DCE729)
    h2b = _rotated(h2 ^ _mixed2(words[1]), 31) + h1b
    h2b = h2b * np.uint64(5) + np.uint64(0x38495AB5)
    h1 = np.where(blocked, h1b ^ _mixed1(words[2]), h1 ^ _mixed1(words[0])) ^ sizes
    h2 = np.where(blocked, h2b ^ _mixed2(words[3]), h2 ^ _mixed2(words[1])) ^ sizes
    h1 = h1 + h2
    h2 = h2 + h1
    return _finished(h1) + _finished(h2)


def _mixed1(words: _Words) -> _Words:
    mixed: _Words = _rotated(words * np.uint64(0x87C37B91114253D5), 31) * np.uint64(0x4CF5AD432745937F)
    return mixed


def _mixed2(words: _Words) -> _Words:
    mixed: _Words = _rotated(words * np.uint64(0x4CF5AD432745937F), 33) * np.uint64(0x87C37B91114253D5)
    return mixed


def _rotated(words: _Words, bits: int) -> _Words:
    rotated: _Words = words << np.uint64(bits) | words >> np.uint64(64 - bits)
    return rotated


def _finished(words: _Words) -> _Words:
    words = (words ^ words >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ words >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    finished: _Words = words ^ words >> np.uint64(33)
    return finished
