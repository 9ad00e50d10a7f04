from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import Code, IllegalDimension, IllegalRows, MalformedRequest, MishardsError
from mishards.kinds import MetricType
from mishards.wire import vectors as vectors_module
from mishards.wire.protos.milvus_pb2 import InsertParam, RowRecord, SearchParam, VectorIds, VectorsData
from mishards.wire.scan import varint_bytes
from mishards.wire.vectors import (
    InsertEnvelope,
    Rows,
    binary_rows,
    check_rows,
    encode_ids,
    encode_rows,
    encode_vectors,
    float_rows,
    split_rows,
    vector_rows,
)

EMPTY = "The vector array is empty. Make sure you have entered vector records."
DIMENSION = "The vector dimension must be equal to the collection dimension."
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def _rows(*records: RowRecord | bytes) -> Rows:
    encoded = (record if isinstance(record, bytes) else record.SerializeToString() for record in records)
    message = b"".join(b"\x1a" + varint_bytes(len(record)) + record for record in encoded)
    return split_rows(message, 0, len(message), 3)[0]


def _floats(*values: float) -> RowRecord:
    return RowRecord(float_data=values)


def _bytes(data: bytes) -> RowRecord:
    return RowRecord(binary_data=data)


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("dimension", [1, 31, 32, 512])
def test_uniform_rows_are_a_view_of_the_request(rows, dimension):
    wanted = np.random.default_rng(rows).random((rows, dimension), dtype=np.float32)
    request = SearchParam(collection_name="c", query_record_array=[_floats(*row) for row in wanted], topk=3)
    raw = request.SerializeToString()

    vectors = float_rows(split_rows(raw, 0, len(raw), 3)[0], dimension)

    np.testing.assert_array_equal(vectors, wanted)
    assert vectors.dtype == np.float32
    assert not vectors.flags.owndata
    assert np.shares_memory(vectors, np.frombuffer(raw, np.uint8))


def test_binary_rows_are_a_view_of_the_request():
    rows = _rows(_bytes(b"ab"), _bytes(b"cd"))
    vectors = binary_rows(rows, 16)
    assert vectors.tobytes() == b"abcd"
    assert vectors.shape == (2, 2)
    assert np.shares_memory(vectors, np.frombuffer(rows.buffer, np.uint8))


def test_the_metric_decides_which_kind_of_vectors_is_read():
    assert vector_rows(_rows(_floats(1, 2)), 2, MetricType.IP).dtype == np.float32
    assert vector_rows(_rows(_bytes(b"x")), 8, MetricType.JACCARD).dtype == np.uint8


UNPACKED = b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40"  # 1.0 and 2.0, each with its own tag
UNUSUAL = [
    [UNPACKED, UNPACKED],
    [UNPACKED, _floats(1, 2)],
    [_floats(1, 2), UNPACKED],
    [b"\x0a\x04\x00\x00\x80\x3f\x0a\x04\x00\x00\x00\x40", _floats(1, 2)],
    [_floats(1, 2).SerializeToString() + b"\x18\x05", _floats(1, 2)],
    [b"\x18\x05" + _floats(1, 2).SerializeToString(), b"\x18\x06" + _floats(1, 2).SerializeToString()],
    [RowRecord(float_data=[1, 2], binary_data=b"x"), _floats(1, 2)],
]


@pytest.mark.parametrize("records", UNUSUAL)
def test_rows_that_are_written_in_another_way_mean_the_same(records):
    np.testing.assert_array_equal(float_rows(_rows(*records), 2), [[1, 2], [1, 2]])


def test_bytes_that_are_written_in_another_way_mean_the_same():
    rows = _rows(_bytes(b"ab"), b"\x18\x05" + _bytes(b"cd").SerializeToString())
    assert binary_rows(rows, 16).tolist() == [list(b"ab"), list(b"cd")]


def test_rows_with_another_field_between_them_are_all_read():
    one, two = (b"\x1a\x06" + _floats(value).SerializeToString() for value in (1, 2))
    raw = one + b"\x20\x05" + two + b"\x0a\x01c"
    rows, rest = split_rows(raw, 0, len(raw), 3)
    assert float_rows(rows, 1).tolist() == [[1], [2]]
    assert rest == b"\x20\x05\x0a\x01c"


@pytest.mark.parametrize("records", [[], [b""], [b"", b""], [b"\x0a\x00"], [b"\x18\x05", b"\x12\x00"]])
def test_rows_without_data_are_empty(records):
    for check in (lambda rows: float_rows(rows, 8), lambda rows: binary_rows(rows, 8), check_rows):
        with pytest.raises(IllegalRows) as error:
            check(_rows(*records))
        assert str(error.value) == EMPTY
        assert error.value.code is Code.ILLEGAL_ROWRECORD


def test_rows_with_data_are_not_empty():
    check_rows(_rows(b"", _floats(1)))
    check_rows(_rows(_bytes(b"x")))


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        ([_floats(1)], IllegalDimension),
        ([_floats(1, 2, 3)], IllegalDimension),
        ([_floats(1), _floats(1, 2, 3)], IllegalDimension),
        ([_floats(1), _floats(1, 2)], IllegalRows),
        ([_floats(1, 2), b""], IllegalDimension),
        ([_floats(1), b""], IllegalRows),
        ([_bytes(b"x")], IllegalDimension),
    ],
)
def test_floats_of_another_dimension_are_refused(records, kind):
    with pytest.raises(kind) as error:
        float_rows(_rows(*records), 2)
    assert str(error.value) == DIMENSION


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        ([_bytes(b"x")], IllegalDimension),
        ([_bytes(b"x"), _bytes(b"xyz")], IllegalDimension),
        ([_bytes(b"x"), _bytes(b"xy")], IllegalRows),
        ([_floats(1, 2)], IllegalDimension),
        ([_bytes(b"xy"), RowRecord(float_data=[1], binary_data=b"xy")], IllegalDimension),
    ],
)
def test_bytes_of_another_dimension_are_refused(records, kind):
    with pytest.raises(kind) as error:
        binary_rows(_rows(*records), 16)
    assert str(error.value) == DIMENSION


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("last", [_floats(1, 2), UNPACKED])
def test_a_value_that_is_not_finite_is_refused_and_its_row_named(bad, last):
    with pytest.raises(IllegalRows, match=r"^Vector 1 has a value that is NaN or infinite"):
        float_rows(_rows(_floats(1, 2), _floats(0, bad), last), 2)


def test_countless_rows_that_would_be_read_one_by_one_are_refused(monkeypatch):
    monkeypatch.setattr(vectors_module, "_MAX_PARSED_ROWS", 3)
    assert len(float_rows(_rows(*[_floats(1, 2)] * 9), 2)) == 9
    assert len(float_rows(_rows(*[UNPACKED] * 3), 2)) == 3
    with pytest.raises(MalformedRequest, match="4 vectors"):
        float_rows(_rows(*[UNPACKED] * 4), 2)
    with pytest.raises(IllegalRows):
        float_rows(_rows(*[b""] * 9), 2)


def test_a_torn_row_is_malformed():
    for rows in (_rows(b"\x0a\x08\x00"), _rows(b"\x0a\x08\x00", b"\x0a\x08\x00"), _rows(b"\x0a\x03abc")):
        with pytest.raises(MalformedRequest):
            float_rows(rows, 2)
        with pytest.raises(MalformedRequest):
            check_rows(Rows(rows.buffer, rows.runs)) if rows.runs[0].size != 5 else float_rows(rows, 1)


@given(
    st.lists(
        st.builds(RowRecord, float_data=st.lists(FLOATS, max_size=3), binary_data=st.binary(max_size=2)), max_size=5
    ),
    st.integers(1, 3),
)
def test_the_floats_are_those_that_protobuf_reads(records, dimension):
    try:
        vectors = float_rows(_rows(*records), dimension)
    except MishardsError:
        assert not records or any(len(record.float_data) != dimension for record in records)
        return
    assert vectors.tolist() == [list(record.float_data) for record in records]


@given(st.lists(st.binary(max_size=12), max_size=4), st.integers(1, 16))
def test_any_rows_give_vectors_or_an_error_of_the_project(records, dimension):
    for read in (lambda rows: float_rows(rows, dimension), lambda rows: binary_rows(rows, 8 * dimension)):
        try:
            vectors = read(_rows(*records))
        except MishardsError:
            continue
        assert len(vectors) == len(records)


INSERTS = st.builds(
    InsertParam,
    collection_name=st.text(max_size=5),
    partition_tag=st.text(max_size=5),
    row_record_array=st.lists(st.builds(RowRecord, float_data=st.lists(FLOATS, min_size=2, max_size=2)), max_size=20),
    row_id_array=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
)


@given(INSERTS)
def test_an_insert_is_read_as_protobuf_reads_it(message):
    envelope = InsertEnvelope.scan(message.SerializeToString())
    assert envelope.collection_name == message.collection_name
    assert envelope.partition_tag == message.partition_tag
    assert envelope.ids.dtype == np.int64
    assert envelope.ids.tolist() == list(message.row_id_array)
    assert len(envelope.rows) == len(message.row_record_array)
    if len(envelope.rows):
        assert float_rows(envelope.rows, 2).tolist() == [list(row.float_data) for row in message.row_record_array]


@pytest.mark.parametrize(
    ("encoded", "ids"),
    [
        (b"\x1a\x02\x01\x02\x1a\x01\x03", [1, 2, 3]),
        (b"\x18\x01\x18\x02", [1, 2]),
        (b"\x1a\x01\x01\x18\x02\x1a\x01\x03", [1, 2, 3]),
        (b"\x1a\x00", []),
        (b"", []),
    ],
)
def test_ids_are_read_packed_and_unpacked_in_their_order(encoded, ids):
    assert InsertEnvelope.scan(encoded).ids.tolist() == ids


@given(st.binary(max_size=40))
def test_any_bytes_are_an_insert_or_malformed(raw):
    try:
        parsed = InsertParam.FromString(raw)
    except DecodeError:
        parsed = None
    try:
        envelope = InsertEnvelope.scan(raw)
    except MalformedRequest as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert parsed is None or "wire type 3" in refusal  # groups are refused
    elif parsed is not None:
        assert envelope.ids.tolist() == list(parsed.row_id_array)
        assert envelope.collection_name == parsed.collection_name
        assert len(envelope.rows) == len(parsed.row_record_array)


def test_a_torn_insert_is_malformed():
    for raw in (b"\x0a\x05ab", b"\x1a\x01\x80", b"\x0a\x01\xff", b"\x1a\x01\x80\x1a\x01\x01"):
        with pytest.raises(MalformedRequest):
            InsertEnvelope.scan(raw)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_encoded_ids_are_the_bytes_of_protobuf(ids):
    message = VectorIds(vector_id_array=ids)
    message.status.reason = "OK"
    assert encode_ids(np.array(ids, np.int64)) == message.SerializeToString()


@pytest.mark.parametrize(
    "vectors",
    [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(12, dtype=np.uint8).reshape(4, 3),
        np.arange(1200, dtype=np.float32).reshape(4, 300)[:, ::2],
    ],
)
@pytest.mark.parametrize("found", [[True] * 4, [False] * 4, [False, True, True, False]])
def test_encoded_vectors_are_the_bytes_of_protobuf(vectors, found):
    message = VectorsData()
    message.status.reason = "OK"
    for vector, there in zip(vectors, found, strict=True):
        record = message.vectors_data.add()
        if there and vectors.dtype == np.uint8:
            record.binary_data = vector.tobytes()
        elif there:
            record.float_data.extend(vector.tolist())
    assert encode_vectors(vectors, np.array(found)) == message.SerializeToString()


def test_encoded_rows_are_read_back():
    wanted = np.random.default_rng(0).random((100, 16), dtype=np.float32)
    raw = b"\x0a\x01c" + encode_rows(b"\x12", wanted)
    np.testing.assert_array_equal(float_rows(InsertEnvelope.scan(raw).rows, 16), wanted)
