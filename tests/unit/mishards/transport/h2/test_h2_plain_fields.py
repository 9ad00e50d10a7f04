"""Header blocks of plain literals, which are read without the decoder of HPACK, beside that decoder."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from mishards.transport.h2.headers import HeaderDecoder, field, field_of_static, plain_fields

NAMES = st.binary(min_size=1, max_size=20)
VALUES = st.binary(max_size=126)
LITERALS = st.builds(field, NAMES, VALUES) | st.builds(field_of_static, st.integers(1, 61), VALUES)
INDEXED = st.integers(1, 61).map(lambda index: bytes([0x80 | index]))


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in Decoder(1 << 20).decode(block, raw=True)]


@given(st.lists(LITERALS | INDEXED, max_size=20))
def test_blocks_of_plain_fields_say_what_the_decoder_says(fields: list[bytes]) -> None:
    block = b"".join(fields)
    assert plain_fields(block) == decoded(block)


@given(st.binary(max_size=40))
def test_of_any_bytes_it_says_what_the_decoder_says_or_nothing(block: bytes) -> None:
    found = plain_fields(block)
    if found is not None:
        assert found == decoded(block)


@given(st.lists(LITERALS | INDEXED, min_size=1, max_size=5), st.integers(1, 30))
def test_a_block_that_was_cut_says_less_or_nothing(fields: list[bytes], cut: int) -> None:
    block = b"".join(fields)[:-cut]
    found = plain_fields(block)
    try:
        expected = decoded(block)
    except HPACKError:
        expected = None
    assert found == expected


@pytest.mark.parametrize(
    "block",
    [
        Encoder().encode([(b"name", b"value")], huffman=False),  # enters the dynamic table
        b"\x00" + b"\x84\xa8\xec\x1b\x7f" + b"\x00",  # a name in Huffman's code
        b"\x20",
        b"\x80",
        b"\xbe",
        field(b"name", bytes(127)),
        field(bytes(127), b"value"),
        field(b"a", b"") * 65,
    ],
    ids=["indexing", "huffman", "table size", "index 0", "dynamic", "long value", "long name", "many"],
)
def test_other_blocks_are_left_to_the_decoder(block: bytes) -> None:
    assert plain_fields(block) is None


@pytest.mark.parametrize("bound", [1 << 15, 10_000, 200])
def test_blocks_that_differ_in_one_value_are_told_apart(bound: int) -> None:
    decoder: HeaderDecoder[list[tuple[bytes, bytes]]] = HeaderDecoder(list, bound)
    for number in range(300):
        value = b"%d" % number
        assert decoder.decode(field(b"request_id", value)) == [(b"request_id", value)]
