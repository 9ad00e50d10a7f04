from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from mishards.errors import MalformedRequest
from mishards.wire import search
from mishards.wire.params import find_params
from mishards.wire.protos.milvus_pb2 import KeyValuePair, RowRecord, SearchInFilesParam, SearchParam
from mishards.wire.search import SearchEnvelope, SearchInFilesEnvelope, search_in_files
from mishards.wire.vectors import float_rows

INT64 = st.integers(-(2**63), 2**63 - 1)
PAIRS = st.builds(KeyValuePair, key=st.sampled_from(["params", "other"]), value=st.text(max_size=5))
ROWS = st.builds(RowRecord, float_data=st.lists(st.floats(width=32), max_size=3), binary_data=st.binary(max_size=3))
SEARCHES = st.builds(
    SearchParam,
    collection_name=st.text(max_size=5),
    partition_tag_array=st.lists(st.text(max_size=5), max_size=3),
    query_record_array=st.lists(ROWS, max_size=30),
    topk=INT64,
    extra_params=st.lists(PAIRS, max_size=3),
)


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Both ways to read a search: all of it by protobuf, and stepping over the vectors."""
    if request.param == "large":
        monkeypatch.setattr(search, "_SMALL", 0)


def _assert_same(envelope: SearchEnvelope, message: SearchParam) -> None:
    assert envelope.collection_name == message.collection_name
    assert envelope.partition_tags == tuple(message.partition_tag_array)
    assert envelope.topk == message.topk
    assert envelope.params == find_params(message.extra_params)
    assert envelope.nq == len(message.query_record_array)
    assert [RowRecord.FromString(row) for row in envelope.rows.spans()] == list(message.query_record_array)


@pytest.mark.usefixtures("size")
class TestReading:
    @given(SEARCHES)
    def test_an_envelope_says_what_protobuf_says(self, message):
        raw = message.SerializeToString()
        envelope = SearchEnvelope.scan(raw)
        _assert_same(envelope, message)
        assert envelope.raw is raw

    @given(SEARCHES, SEARCHES, st.binary(max_size=5))
    def test_of_a_field_that_comes_twice_the_last_counts_and_unknown_fields_do_not(self, one, two, unknown):
        raw = one.SerializeToString() + b"\xa2\x06" + bytes([len(unknown)]) + unknown + two.SerializeToString()
        _assert_same(SearchEnvelope.scan(raw), SearchParam.FromString(raw))

    @given(st.binary(max_size=50))
    @example(b"\x0a\x01\xff")
    @example(b"\x9a\x00\x00")
    @example(b"\x18\x01\x22\x01\x01\x25\x00\x00\x00\x00")
    def test_any_bytes_are_read_as_protobuf_reads_them(self, raw):
        try:
            message = SearchParam.FromString(raw)
        except DecodeError:
            message = None
        try:
            envelope = SearchEnvelope.scan(raw)
            rows = [RowRecord.FromString(row) for row in envelope.rows.spans()]
        except (MalformedRequest, DecodeError) as error:
            refusal = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert message is None or "wire type 3" in refusal  # groups are refused
            return
        assert message is not None
        assert rows == list(message.query_record_array)
        _assert_same(envelope, message)

    @given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40), SEARCHES)
    def test_a_search_in_files_carries_the_clients_bytes_and_comes_back(self, file_ids, message):
        raw = message.SerializeToString()
        request = search_in_files(file_ids, raw)

        texts = [str(file_id) for file_id in file_ids]
        assert request == SearchInFilesParam(file_id_array=texts, search_param=message).SerializeToString()
        envelope = SearchInFilesEnvelope.scan(request)
        assert envelope.file_ids == tuple(texts)
        assert envelope.search.raw == raw
        _assert_same(envelope.search, message)

    @given(st.binary(max_size=60))
    @example(b"\x12\x03\x0a\x01a\x0a\x011\x12\x02\x20\x05")
    def test_any_bytes_are_a_search_in_files_or_malformed(self, raw):
        try:
            message = SearchInFilesParam.FromString(raw)
        except DecodeError:
            message = None
        try:
            envelope = SearchInFilesEnvelope.scan(raw)
            rows = [RowRecord.FromString(row) for row in envelope.search.rows.spans()]
        except (MalformedRequest, DecodeError) as error:
            refusal = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert message is None or "wire type 3" in refusal
            return
        assert message is not None
        assert rows == list(message.search_param.query_record_array)
        assert envelope.file_ids == tuple(message.file_id_array)
        _assert_same(envelope.search, message.search_param)

    @pytest.mark.parametrize("cut", range(1, 40))
    def test_a_torn_search_is_malformed_or_lacks_whole_fields(self, cut):
        raw = SearchParam(
            collection_name="abc", query_record_array=[RowRecord(float_data=[1, 2])], topk=3, extra_params=[]
        ).SerializeToString()[:-cut]
        try:
            message = SearchParam.FromString(raw)
        except DecodeError:
            with pytest.raises(MalformedRequest):
                SearchEnvelope.scan(raw)
        else:
            _assert_same(SearchEnvelope.scan(raw), message)


def test_the_vectors_of_a_forwarded_search_are_a_view_of_what_arrived():
    wanted = np.random.default_rng(0).random((200, 96), dtype=np.float32)
    client = SearchParam(collection_name="c", query_record_array=[RowRecord(float_data=row) for row in wanted], topk=1)
    raw = search_in_files(range(100_000, 101_000), client.SerializeToString())

    envelope = SearchInFilesEnvelope.scan(raw)
    vectors = float_rows(envelope.search.rows, 96)

    assert len(envelope.file_ids) == 1000
    np.testing.assert_array_equal(vectors, wanted)
    assert np.shares_memory(vectors, np.frombuffer(raw, np.uint8))


def test_a_file_id_that_is_no_text_is_malformed():
    with pytest.raises(MalformedRequest, match="is no SearchInFilesParam"):
        SearchInFilesEnvelope.scan(b"\x0a\x01\xff\x12\x00")


def test_a_search_in_no_files_is_never_made():
    with pytest.raises(ValueError, match="no files"):
        search_in_files([], b"")
