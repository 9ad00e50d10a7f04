from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.wire import alike
from mishards.wire.alike import AlikeRequests
from mishards.wire.protos.milvus_pb2 import RowRecord, SearchParam
from mishards.wire.search import SearchEnvelope, SearchInFilesEnvelope, search_in_files
from mishards.wire.vectors import Floats, float_rows

NAMES = st.sampled_from(["a", "b", "words"])
SEARCHES = st.builds(
    lambda name, topk, rows, seed: asked(name, topk, np.random.default_rng(seed).random(rows, np.float32)),
    NAMES,
    st.integers(1, 200),
    st.tuples(st.integers(1, 20), st.sampled_from([2, 4, 40])),
    st.integers(0, 9),
)


def asked(name: str, topk: int, rows: Floats) -> bytes:
    records = [RowRecord(float_data=row) for row in rows.tolist()]
    return SearchParam(collection_name=name, topk=topk, query_record_array=records).SerializeToString()


def about(request: bytes) -> tuple[str, int, int]:
    """What a request says beside its vectors."""
    envelope = SearchEnvelope.scan(request)
    return envelope.collection_name, envelope.topk, envelope.nq


@given(st.lists(SEARCHES, max_size=30))
def test_what_is_remembered_of_requests_holds_for_those_that_are_like_them(requests: list[bytes]) -> None:
    known: AlikeRequests[tuple[str, int, int]] = AlikeRequests()
    for request in requests:
        found = known.find(request)
        assert known.count(request) == (None if found is None else (found[0], len(found[1])))
        if found is not None:
            assert found[0] == about(request)
            rows = SearchEnvelope.scan(request).rows
            assert found[1].tolist() == float_rows(rows, found[1].shape[1]).tolist()
        known.remember(request, SearchEnvelope.scan(request).rows, about(request))
        assert known.find(request) is not None


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_request_with_other_vectors_alone_is_known(rows: int) -> None:
    random = np.random.default_rng(1)
    first, second = random.random((2, rows, 8), np.float32)
    known: AlikeRequests[str] = AlikeRequests()
    request = search_in_files([1, 22], asked("a", 5, first))
    known.remember(request, SearchInFilesEnvelope.scan(request).search.rows, "first")
    found = known.find(search_in_files([1, 22], asked("a", 5, second)))
    assert found is not None
    assert found[0] == "first"
    assert found[1].tolist() == second.tolist()
    assert known.find(search_in_files([1, 23], asked("a", 5, second))) is None
    assert known.find(search_in_files([1, 22], asked("a", 6, second))) is None


def test_rows_of_another_kind_behind_the_first_are_noticed() -> None:
    rows = np.ones((3, 4), np.float32)
    request = asked("a", 5, rows)
    known: AlikeRequests[str] = AlikeRequests()
    known.remember(request, SearchEnvelope.scan(request).rows, "floats")
    record = RowRecord(float_data=[1, 1, 1, 1]).SerializeToString()
    other = b"\x12" + record[1:]  # as many bytes, as bytes
    start = request.rindex(record)
    assert known.find(request[:start] + other + request[start + len(record) :]) is None


def test_newer_replaces_older_and_all_can_be_forgotten() -> None:
    request = asked("a", 5, np.ones((1, 4), np.float32))
    known: AlikeRequests[int] = AlikeRequests()
    for number in range(3):
        known.remember(request, SearchEnvelope.scan(request).rows, number)
    found = known.find(request)
    assert found is not None
    assert found[0] == 2
    known.clear()
    assert known.find(request) is None


@pytest.mark.parametrize("record", [RowRecord(binary_data=b"1234"), RowRecord()], ids=["bytes", "nothing"])
def test_a_request_without_floats_is_not_remembered(record: RowRecord) -> None:
    request = SearchParam(collection_name="a", query_record_array=[record]).SerializeToString()
    known: AlikeRequests[int] = AlikeRequests()
    known.remember(request, SearchEnvelope.scan(request).rows, 1)
    assert known.find(request) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "_LENGTHS", 4)
    known: AlikeRequests[int] = AlikeRequests()
    requests = [asked("a", topk, np.ones((rows, 4), np.float32)) for rows in range(1, 7) for topk in range(1, 11)]
    for number, request in enumerate(requests):
        known.remember(request, SearchEnvelope.scan(request).rows, number)
    still = [request for request in requests if known.find(request)]
    assert requests[-1] in still
    assert len(still) <= 4 * 8
    long = asked("a" * 10_000, 5, np.ones((1, 4), np.float32))
    known.remember(long, SearchEnvelope.scan(long).rows, 1)
    assert known.find(long) is None
