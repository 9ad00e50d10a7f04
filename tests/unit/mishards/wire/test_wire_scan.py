from __future__ import annotations

import pytest
from google.protobuf.internal import decoder, encoder
from hypothesis import example, given
from hypothesis import strategies as st

from mishards.wire import scan
from mishards.wire.scan import Run, Truncated, read_varint, runs, varint_bytes

UINT64 = st.integers(0, 2**64 - 1)


def _field(number: int, wire_type: int, value: bytes) -> bytes:
    return varint_bytes(number << 3 | wire_type) + value


@given(UINT64)
def test_varints_are_those_of_protobuf(value):
    encoded = varint_bytes(value)
    assert encoded == encoder._VarintBytes(value)
    assert read_varint(b"x" + encoded + b"\x01", 1, 99) == (value, 1 + len(encoded))


@given(st.binary(max_size=12), st.integers(0, 12))
@example(b"\xff" * 9 + b"\x01", 10)
@example(b"\xff" * 9 + b"\x02", 10)
@example(b"\x80" * 10 + b"\x00", 11)
def test_any_bytes_give_a_varint_or_an_error(data, end):
    end = min(end, len(data))
    try:
        value, stop = read_varint(data, 0, end)
    except Truncated:
        assert all(byte >= 0x80 for byte in data[: min(end, 9)])
        return
    assert stop <= end
    assert decoder._DecodeVarint(data, 0) == (value, stop)


RECORDS = st.lists(
    st.one_of(
        st.builds(lambda n, v: (n, 0, varint_bytes(v)), st.integers(1, 20), UINT64),
        st.builds(lambda n, v: (n, 1, v), st.integers(1, 20), st.binary(min_size=8, max_size=8)),
        st.builds(lambda n, v: (n, 5, v), st.integers(1, 2**29 - 1), st.binary(min_size=4, max_size=4)),
        st.builds(lambda n, v: (n, 2, v), st.sampled_from([1, 2, 16]), st.binary(max_size=3)),
    ),
    max_size=20,
)


def _encode(records: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        _field(number, kind, varint_bytes(len(value)) + value if kind == 2 else value)
        for number, kind, value in records
    )


@given(RECORDS, st.integers(0, 3))
def test_the_runs_are_the_fields_in_their_order(records, offset):
    data = b"\x00" * offset + _encode(records)
    found = list(runs(data, offset, len(data)))

    assert [
        (run.number, run.wire_type, data[start : start + run.size]) for run in found for start in run.starts()
    ] == records
    assert b"".join(data[run.begin : run.end] for run in found) == data[offset:]


@pytest.mark.parametrize("records", [1, 2, 15, 16, 17, 64, 65, 1000])
@pytest.mark.parametrize("tail", [[], [(1, 2, b"xyz")], [(2, 2, b"")], [(4, 0, b"\x01")]])
def test_records_of_one_shape_are_one_run(records, tail):
    data = _encode([(1, 2, bytes([at % 256, 10, 2])) for at in range(records)] + tail)
    first = next(runs(data, 0, len(data)))
    assert first == Run(1, 2, begin=0, start=2, size=3, stride=5, records=records + (tail == [(1, 2, b"xyz")]))


def test_a_run_ends_where_the_message_ends():
    data = _encode([(1, 2, b"ab")] * 50)
    (run,) = runs(data, 0, 4 * 30)
    assert run.records == 30
    with pytest.raises(Truncated):
        list(runs(data, 0, 4 * 30 + 3))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01",  # field number 0
        b"\x07",  # wire type 7
        b"\x0b\x0c",  # a group
        b"\x0a",  # no length
        b"\x0a\x02x",  # too short
        b"\x08\x80",  # a varint that does not end
        b"\x0d\x00\x00",  # half a fixed32
        b"\x80\x80\x80\x80\x80\x01\x00",  # a tag beyond 32 bits
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length beyond everything
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(Truncated):
        list(runs(data, 0, len(data)))


def test_a_message_of_countless_fields_is_refused(monkeypatch):
    monkeypatch.setattr(scan, "_MAX_RUNS", 4)
    assert len(list(runs(b"\x08\x01" * 3 + b"\x0a\x00" * 50, 0, 106))) == 4
    with pytest.raises(Truncated, match="more than 4 fields"):
        list(runs(b"\x08\x01" * 5, 0, 10))


@given(st.binary(max_size=60))
def test_any_bytes_are_walked_over_or_refused(data):
    try:
        found = list(runs(data, 0, len(data)))
    except Truncated:
        return
    assert sum(run.end - run.begin for run in found) == len(data)
