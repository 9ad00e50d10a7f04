"""A large body, read in pieces, is what it is when read as a whole."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mishards.rest import loading
from mishards.rest.errors import BadHttpRequest
from mishards.rest.rows import JsonRows


def in_pieces(body: bytes, piece: int) -> Any:
    with mock.patch.object(loading, "_LARGE", 0), mock.patch.object(loading, "_PIECE", piece):
        return loading.loads(bytearray(body))


def plain(value: Any) -> Any:
    """Put what a body says into one form, however its vectors were read."""
    if isinstance(value, JsonRows):
        rows = [row.tolist() for block in value.blocks for row in block]
        return ("rows", rows, value.may_be_bytes)
    if isinstance(value, dict):
        return {key: rows_or_list(part) if key == "vectors" else plain(part) for key, part in value.items()}
    return value


def rows_or_list(value: Any) -> Any:
    try:
        return plain(value if isinstance(value, JsonRows) else JsonRows.of(value))
    except BadHttpRequest:
        return ("no rows", value)


def outcome(parse: Any, *arguments: Any) -> Any:
    try:
        return plain(parse(*arguments))
    except orjson.JSONDecodeError:
        return "no JSON"


NUMBERS = st.one_of(st.integers(-5, 300), st.floats(-1e3, 1e3, width=32), st.sampled_from([1e-30, 1e300, 2**64]))
ROWS = st.one_of(
    st.integers(0, 4).flatmap(lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), max_size=8)),
    st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=8),
    st.lists(st.one_of(NUMBERS, st.none(), st.text(max_size=3), st.lists(st.lists(NUMBERS, max_size=2))), max_size=4),
)
OTHERS = st.dictionaries(
    st.sampled_from(["ids", "topk", "params", "partition_tag", 'odd "vectors": [', "search"]),
    st.one_of(
        st.integers(),
        st.lists(st.text(max_size=4), max_size=3),
        st.sampled_from(["vectors", '"vectors":[[1]]', '\\"vectors": [', "]]"]),
        st.fixed_dictionaries({"vectors": ROWS}),
    ),
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    before, after, rows = draw(OTHERS), draw(OTHERS), draw(ROWS)
    body: Any = {**before, "vectors": rows, **after}
    if draw(st.booleans()):
        body = {"search": body, **draw(OTHERS)}
    separators = draw(st.sampled_from([(",", ":"), (" ,  ", " : "), (",\r\n\t", ":\n")]))
    return json.dumps(body, separators=separators, allow_nan=False).encode()


@given(bodies(), st.integers(1, 40))
@example(b'{"vectors":[[1.5,2.5],[3.5,4.5]],"ids":["1","2"]}', 1)
@example(b'{"vectors":[[1,2],[3.5,4.5]]}', 1)
@example(b'{"vectors":[[1,2],[3,4,5],[]]}', 1)
@example(b'{"params":{"vectors":[[1]]},"vectors":[[2]]}', 1)
@example(b'{"vectors":[[1]],"vectors":[[2]]}', 1)
@example(b'{"vectors":[[1]],"\\u0076ectors":[[2]]}', 1)
@example(b'{"\\u0076ectors":"vectors","search":{"vectors":[[1]]}}', 1)
@example(b'[{"vectors":[[1]]}]', 1)
@example(b'{"vectors":[[1] [2]]}', 1)
@example(b'{"vectors":[[1],[2],]}', 1)
@example(b'{"vectors":[,[1],[2]]}', 1)
def test_a_body_says_the_same_in_pieces(body: bytes, piece: int) -> None:
    assert outcome(in_pieces, body, piece) == outcome(orjson.loads, body)


@given(bodies(), st.integers(1, 40), st.data())
def test_a_damaged_body_says_the_same_in_pieces(body: bytes, piece: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    put = data.draw(
        st.sampled_from([b"", b",", b"[", b"]", b'"', b"}", b"1", b"-", b".", b"e", b" ", b"\x00", b"null"])
    )
    body = body[:at] + put + body[at + data.draw(st.integers(0, 1)) :]
    assert outcome(in_pieces, body, piece) == outcome(orjson.loads, body)


@pytest.mark.parametrize("rows", [np.ones((400, 500), np.float32) / 3, np.arange(200_000).reshape(-1, 8) % 256])
@pytest.mark.parametrize("place", ["insert", "search"])
def test_a_large_body_never_becomes_a_list_of_its_vectors(rows: np.ndarray, place: str) -> None:
    body: Any = {"topk": 5, "vectors": rows.tolist(), "ids": ["1"]}
    encoded = orjson.dumps(body if place == "insert" else {"search": body})
    assert len(encoded) > 700_000
    with mock.patch.object(loading, "_LARGE", 100_000), mock.patch.object(loading, "_PIECE", 50_000):
        parsed = loading.loads(bytearray(encoded))
    parsed = parsed if place == "insert" else parsed["search"]
    found = parsed["vectors"]
    assert isinstance(found, JsonRows)
    assert len(found.blocks) > 10
    np.testing.assert_array_equal(np.concatenate(found.blocks), rows.astype(np.float32))
    assert found.may_be_bytes == (rows.dtype.kind == "i")
    assert (parsed["topk"], parsed["ids"]) == (5, ["1"])
