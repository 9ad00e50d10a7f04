from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvus_node.storage import bloom_filter
from milvus_node.storage.bloom_filter import bloom_filter_of

M64 = (1 << 64) - 1
SEED = 0x97C29B3A


def murmur3(text: bytes, seed: int) -> int:
    """The first 64 bits of MurmurHash3_x64_128, one key at a time, after the public description."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def rotate(x: int, r: int) -> int:
        return (x << r | x >> 64 - r) & M64

    def finish(k: int) -> int:
        k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD & M64
        k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53 & M64
        return k ^ k >> 33

    h1 = h2 = seed
    whole = len(text) // 16 * 16
    for start in range(0, whole, 16):
        k1, k2 = struct.unpack_from("<QQ", text, start)
        h1 ^= rotate(k1 * c1 & M64, 31) * c2 & M64
        h1 = ((rotate(h1, 27) + h2) * 5 + 0x52DCE729) & M64
        h2 ^= rotate(k2 * c2 & M64, 33) * c1 & M64
        h2 = ((rotate(h2, 31) + h1) * 5 + 0x38495AB5) & M64
    tail = text[whole:]
    h2 ^= rotate(int.from_bytes(tail[8:], "little") * c2 & M64, 33) * c1 & M64
    h1 ^= rotate(int.from_bytes(tail[:8], "little") * c1 & M64, 31) * c2 & M64
    h1 = (h1 ^ len(text)) + (h2 ^ len(text)) & M64
    h2 = h1 + (h2 ^ len(text)) & M64
    return finish(h1) + finish(h2) & M64


class Reader:
    """Reads a filter as a Milvus server does: one id and one counter at a time, filters by their size alone."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.highest, self.changes, self.synced = struct.unpack_from("<QQQ", content)
        self.filters: list[tuple[int, int, int, int, int]] = []
        offset = 24
        while offset != len(content):
            error = 0.01 * 0.5 ** (len(self.filters) + 1)
            functions = math.ceil(math.log(1 / error) / math.log(2))
            per_function = math.ceil(
                bloom_filter.CAPACITY * abs(math.log(error)) / (functions * math.pow(math.log(2), 2))
            )
            lowest, count, padding = struct.unpack_from("<QII", content, offset)
            assert padding == 0
            self.filters.append((lowest, count, offset + 16, functions, per_function))
            offset += 16 + (functions * per_function + 1) // 2
            assert offset <= len(content)

    def counts(self, key: int, number: int) -> list[int]:
        _, _, offset, functions, per_function = self.filters[number]
        value = murmur3(str(key).encode(), SEED)
        found = []
        for function in range(functions):
            index = function * per_function + ((value & 0xFFFFFFFF) + function * (value >> 32)) % 2**32 % per_function
            byte = self.content[offset + index // 2]
            found.append(byte & 15 if index % 2 else byte >> 4)
        return found

    def may_have(self, key: int) -> bool:
        return any(all(self.counts(key, number)) for number in range(len(self.filters)))


def read(ids: npt.NDArray[np.int64]) -> Reader:
    return Reader(b"".join(bloom_filter_of(ids)))


def test_the_hash_is_the_published_one() -> None:
    assert murmur3(b"foo", 0) == 16316970633193145697
    assert murmur3(b"", 0) == 0


@given(st.lists(st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 10**4)), max_size=50))
def test_each_id_hashes_as_its_decimal_text(values: list[int]) -> None:
    ids = np.array(values, np.int64)
    assert bloom_filter._murmur3(ids).tolist() == [murmur3(str(value).encode(), SEED) for value in values]


def test_texts_of_every_length_hash_alike() -> None:
    ids = np.array([int("9" * digits) for digits in range(1, 19)] + [-(10**digits) for digits in range(19)])
    assert bloom_filter._murmur3(ids).tolist() == [murmur3(str(value).encode(), SEED) for value in ids.tolist()]


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_file_has_the_size_that_a_server_writes(count: int) -> None:
    assert sum(len(buffer) for buffer in bloom_filter_of(np.arange(count))) == 2_756_980


def test_an_empty_segment_has_nothing() -> None:
    reader = read(np.empty(0, np.int64))
    assert (reader.highest, reader.changes, reader.synced) == (0, 1, 0)
    assert [(lowest, count) for lowest, count, *_ in reader.filters] == [(0, 0)]
    assert not any(reader.content[40:])


def test_ids_are_found_and_few_others() -> None:
    ids = np.random.default_rng(1).integers(-(1 << 62), 1 << 62, 2000)
    reader = read(ids)
    assert all(reader.may_have(key) for key in ids.tolist())
    assert sum(reader.may_have(key) for key in range(2000)) == 0  # far below capacity
    assert reader.highest == max(key % 2**64 for key in ids.tolist())
    assert reader.changes == 2001
    assert [(lowest, count) for lowest, count, *_ in reader.filters] == [(0, 2000)]


def test_an_id_that_repeats_is_counted_up_to_fifteen() -> None:
    assert set(read(np.full(3, 42)).counts(42, 0)) == {3}
    assert set(read(np.full(300, 42)).counts(42, 0)) == {15}


@settings(max_examples=40)
@given(st.lists(st.integers(-30, 60), max_size=60))
def test_more_ids_than_a_filter_holds_go_into_further_filters(values: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bloom_filter, "CAPACITY", 10)
        reader = read(np.array(values, np.int64))
    ordered = sorted(value % 2**64 for value in values)
    assert sum(count for _, count, *_ in reader.filters) == len(values)
    assert reader.highest == max(ordered, default=0)
    for value in values:
        owner = max(n for n, (lowest, *_) in enumerate(reader.filters) if value % 2**64 >= lowest)
        assert min(reader.counts(value, owner)) >= 1
    for number, (lowest, count, *_) in enumerate(reader.filters):
        upper = reader.filters[number + 1][0] if number + 1 < len(reader.filters) else 2**64
        assert count == sum(lowest <= value < upper for value in ordered)
        assert count >= 9 or number == len(reader.filters) - 1
