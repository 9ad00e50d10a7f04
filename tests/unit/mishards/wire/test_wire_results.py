from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mishards.errors import Code, IllegalTopK, MalformedReply
from mishards.topk import TopK
from mishards.wire import results
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.replies import error_reply, status_of
from mishards.wire.results import decode_result, encode_result, encode_results, scan_result

IDS = st.integers(-2, 300) | st.integers(-(2**63), 2**63 - 1)


@st.composite
def answers(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 40)))
    ids = draw(npst.arrays(np.int64, shape, elements=IDS))
    return TopK(ids, draw(npst.arrays(np.float32, shape, elements=st.floats(width=32))))


def _message(topk: TopK) -> TopKQueryResult:
    message = TopKQueryResult(
        row_num=len(topk.ids), ids=topk.ids.ravel().tolist(), distances=topk.distances.ravel().tolist()
    )
    message.status.reason = "OK"
    return message


@pytest.fixture(params=["objects", "arrays"])
def size(request, monkeypatch):
    """Both ways to encode: objects of protobuf, and arrays."""
    monkeypatch.setattr(results, "_FEW", 0 if request.param == "arrays" else 10**9)


@pytest.mark.usefixtures("size")
@given(answers())
def test_an_answer_is_the_bytes_of_protobuf_and_comes_back(topk):
    reply = encode_result(topk)

    assert reply == _message(topk).SerializeToString()
    assert status_of("Search", reply) == (Code.SUCCESS, "OK")
    code, rows, decoded = decode_result(reply)
    assert (code, rows) == (Code.SUCCESS, len(topk.ids))
    np.testing.assert_array_equal(decoded.ids, topk.ids)
    np.testing.assert_array_equal(decoded.distances, topk.distances)
    assert decoded.ids.dtype == np.int64
    assert decoded.distances.dtype == np.float32


def test_arrays_that_are_views_are_encoded_too():
    wide = TopK(np.arange(600).reshape(2, 300), np.arange(600, dtype=np.float32).reshape(2, 300))
    part = TopK(wide.ids[:, ::2], wide.distances[:, ::2])
    assert encode_result(part) == _message(part).SerializeToString()


def test_without_segments_there_are_no_rows():
    reply = encode_result(None)
    assert reply == b"\x0a\x04\x12\x02OK"
    code, rows, topk = decode_result(reply)
    assert (code, rows, topk.ids.shape, topk.distances.shape) == (Code.SUCCESS, 0, (0, 0), (0, 0))
    assert encode_result(TopK(np.empty((3, 0), np.int64), np.empty((3, 0), np.float32))) == reply


def test_a_failed_search_has_a_code_and_no_rows():
    code, rows, _ = decode_result(error_reply("Search", IllegalTopK(0, 16384)))
    assert (code, rows) == (Code.ILLEGAL_TOPK, 0)
    assert scan_result(error_reply("Search", IllegalTopK(0, 16384))).reason.startswith("Invalid topk: 0.")
    assert decode_result(b"\x0a\x02\x08\x63")[0] == 99


def test_the_width_is_taken_from_the_lengths():
    reply = _message(TopK(np.arange(6).reshape(2, 3), np.zeros((2, 3), np.float32))).SerializeToString()
    assert scan_result(reply).width == 3


@pytest.mark.parametrize(
    "reply",
    [
        b"\x10\x01" + b"\x1a\x02\x01\x02" + b"\x22\x08" + bytes(8),  # no status
        b"\x0a\x00" + b"\x10\x01" + b"\x1a\x02\x01\x02" + b"\x22\x08" + bytes(8),  # an empty one
        b"\x0a\x84\x00\x12\x02OK" + b"\x10\x01" + b"\x1a\x02\x01\x02" + b"\x22\x08" + bytes(8),  # a longer length
        b"\x10\x01" + b"\x18\x01\x18\x02" + b"\x25" + bytes(4) + b"\x25" + bytes(4),  # unpacked
        b"\x10\x01" + b"\x1a\x01\x01\x1a\x01\x02" + b"\x22\x04" + bytes(4) + b"\x22\x04" + bytes(4),  # in pieces
        b"\x22\x08" + bytes(8) + b"\x1a\x02\x01\x02" + b"\x10\x05\x10\x01",  # in another order
        b"\x10\x01" + b"\x1a\x02\x01\x02" + b"\x22\x08" + bytes(8) + b"\x28\x07",  # with an unknown field
    ],
)
def test_an_answer_that_is_written_in_another_way_means_the_same(reply):
    code, rows, topk = decode_result(reply)
    assert (code, rows) == (Code.SUCCESS, 1)
    assert topk.ids.tolist() == [[1, 2]]
    assert topk.distances.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "message",
    [
        TopKQueryResult(row_num=1, ids=[1], distances=[]),
        TopKQueryResult(row_num=1, ids=[1], distances=[1, 2]),
        TopKQueryResult(row_num=2, ids=[1, 2, 3], distances=[1, 2, 3]),
        TopKQueryResult(row_num=0, ids=[1], distances=[1]),
        TopKQueryResult(row_num=-1, ids=[1], distances=[1]),
        TopKQueryResult(row_num=-1),
        TopKQueryResult(row_num=10**15),
    ],
)
def test_rows_that_do_not_fit_the_lists_are_malformed(message):
    for prefix in (b"", b"\x0a\x04\x12\x02OK"):
        with pytest.raises(MalformedReply, match="search reply has"):
            decode_result(prefix + message.SerializeToString())


def test_a_torn_answer_is_malformed():
    reply = encode_result(TopK(np.arange(400).reshape(2, 200), np.zeros((2, 200), np.float32)))
    for cut in (1, 4, 400, 802, len(reply) - 7):
        with pytest.raises(MalformedReply):
            decode_result(reply[:-cut])


def test_ids_that_are_no_int64_are_malformed():
    head = b"\x0a\x04\x12\x02OK\x10\x01"
    for ids in (b"\x80", b"\x80" * 10 + b"\x01"):
        with pytest.raises(MalformedReply):
            decode_result(head + b"\x1a" + bytes([len(ids)]) + ids + b"\x22\x04" + bytes(4))


@given(st.binary(max_size=40))
@example(b"\x0a")
@example(b"\x0a\x04\x12\x02OK\x10\x01\x1a")
@example(b"\x0a\x04\x12\x02OK\x10\x01\x1a\x01\x01\x22\x04\x00\x00")
def test_any_bytes_are_an_answer_or_malformed(tail):
    for reply in (tail, b"\x0a\x04\x12\x02OK\x10\x01" + tail):
        try:
            message = TopKQueryResult.FromString(reply)
        except DecodeError:
            message = None
        try:
            code, rows, topk = decode_result(reply)
        except MalformedReply:
            continue
        assert message is not None
        assert (code, rows) == (message.status.error_code, message.row_num)
        assert topk.ids.ravel().tolist() == list(message.ids)
        np.testing.assert_array_equal(topk.distances.ravel(), np.array(message.distances[:], np.float32))


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 9),
    st.sampled_from([1, 200, 2**40, 2**62]),
)
def test_an_answer_that_is_encoded_as_several_is_each_of_them_encoded(counts, width, seed, largest):
    random = np.random.default_rng(seed)
    shape = sum(counts), width
    topk = TopK(random.integers(-1, largest, shape), random.random(shape, np.float32))
    ends = np.cumsum(counts).tolist()
    alone = [TopK(topk.ids[a:b], topk.distances[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    assert encode_results(topk, counts) == [encode_result(part) for part in alone]


def test_without_segments_each_of_several_answers_has_no_rows():
    assert encode_results(None, [1, 2]) == [encode_result(None)] * 2
