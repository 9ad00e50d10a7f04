from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mishards.wire.protos.milvus_pb2 import VectorIds
from mishards.wire.varints import count_varints, decode_varints, encode_varints, longest_varint, uniform_width

INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = [0, 1, -1, 2**63 - 1, -(2**63), *(2**shift - 1 for shift in range(7, 64, 7)), *(2**s for s in range(7, 63, 7))]


def _protobuf(values: list[int]) -> bytes:
    encoded = VectorIds(vector_id_array=values).SerializeToString()
    return encoded[len(encoded) - sum(_size(value) for value in values) :]


def _size(value: int) -> int:
    return max(1, -(-(value % 2**64).bit_length() // 7))


@given(st.lists(INT64 | st.integers(0, 300), max_size=40))
@example(EDGES)
@example([2**62] * 3)
@example([2**56 - 1] * 3)
def test_the_bytes_are_those_of_protobuf_and_come_back(values):
    packed = encode_varints(np.array(values, np.int64))
    assert packed == _protobuf(values)
    view = np.frombuffer(packed, np.uint8)
    assert decode_varints(view).tolist() == values
    assert count_varints(view) == len(values)
    assert longest_varint(view) == max(map(_size, values), default=0)


@pytest.mark.parametrize("value", EDGES)
def test_numbers_of_one_width_are_known_as_such(value):
    view = np.frombuffer(encode_varints(np.full(5, value)), np.uint8)
    assert uniform_width(view) == _size(value)
    assert decode_varints(view).tolist() == [value] * 5


def test_an_average_width_is_not_a_uniform_one():
    view = np.frombuffer(encode_varints(np.array([1, 200, 20000])), np.uint8)
    assert len(view) == 6
    assert uniform_width(view) == 0


@given(npst.arrays(np.uint8, st.integers(0, 40), elements=st.integers(0, 255) | st.integers(0x80, 0xFF)))
def test_any_bytes_decode_or_are_refused(packed):
    try:
        values = decode_varints(packed)
    except ValueError:
        return
    assert len(values) == count_varints(packed)


@pytest.mark.parametrize("packed", [[0x80], [1, 0xFF], [0x80] * 10 + [1], [1] + [0x80] * 10 + [1]])
def test_a_number_that_does_not_end_or_is_too_long_is_refused(packed):
    with pytest.raises(ValueError, match="varint"):
        decode_varints(np.array(packed, np.uint8))
