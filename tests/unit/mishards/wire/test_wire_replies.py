from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import Code, CollectionNotFound, IllegalTopK, MalformedReply, PartitionError
from mishards.wire.protos import milvus_pb2
from mishards.wire.protos.status_pb2 import Status
from mishards.wire.replies import METHODS, error_reply, ok_status, status_of


def _status(method: str, reply: bytes) -> Status:
    message = METHODS[method].reply.FromString(reply)
    return message if isinstance(message, Status) else message.status


def test_the_vector_methods_of_the_protocol_are_all_there():
    assert len(METHODS) == 27
    assert METHODS["SearchInFiles"].request is milvus_pb2.SearchInFilesParam
    assert METHODS["SearchInFiles"].reply is milvus_pb2.TopKQueryResult
    assert METHODS["DropIndex"].replies_status
    assert not METHODS["HasCollection"].replies_status


def test_success_has_the_reason_ok():
    assert ok_status().SerializeToString() == b"\x12\x02OK"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_error_reply_is_of_the_methods_own_type_and_holds_only_the_status(method):
    reply = error_reply(method, IllegalTopK(0, 16384))

    message = METHODS[method].reply.FromString(reply)
    status = _status(method, reply)
    assert (status.error_code, status.reason) == (
        10,
        "Invalid topk: 0. The topk must be within the range of 1 ~ 16384.",
    )
    if not METHODS[method].replies_status:
        assert [field.name for field, _ in message.ListFields()] == ["status"]
    assert status_of(method, reply) == (Code.ILLEGAL_TOPK, status.reason)


def test_an_error_whose_text_cannot_be_encoded_still_gives_a_reply():
    assert status_of("Flush", error_reply("Flush", CollectionNotFound("\ud800")))[0] is Code.COLLECTION_NOT_EXISTS


@given(st.text(max_size=300))
def test_any_reason_comes_back(reason):
    for method in ("Search", "Flush"):
        assert status_of(method, error_reply(method, PartitionError(reason))) == (
            Code.UNEXPECTED_ERROR,
            reason.encode("utf-8", "replace").decode(),
        )


def test_a_reply_without_status_is_a_success():
    assert status_of("Flush", b"") == (Code.SUCCESS, "")
    assert status_of("Search", milvus_pb2.TopKQueryResult(row_num=1, ids=[1]).SerializeToString()) == (Code.SUCCESS, "")


def test_a_code_that_does_not_exist_stays_a_number():
    assert status_of("Flush", b"\x08\x06") == (6, "")
    assert status_of("Flush", b"\x08\x63") == (99, "")


def test_the_status_of_a_big_reply_is_read_without_the_rest():
    ids = milvus_pb2.TopKQueryResult(row_num=1, ids=range(10_000)).SerializeToString()
    torn = b"\x0a\x04\x12\x02OK" + ids[:-1]

    assert status_of("Search", torn) == (Code.SUCCESS, "OK")


def test_a_status_in_several_pieces_is_one_status():
    assert status_of("Search", b"\x0a\x02\x08\x04" + b"\x0a\x03\x12\x01x" + b"\x10\x01") == (
        Code.COLLECTION_NOT_EXISTS,
        "x",
    )
    assert status_of("Search", b"\x0a\x04\x12\x02OK" + b"\x0a\x02\x08\x04") == (Code.COLLECTION_NOT_EXISTS, "OK")


@given(
    st.builds(
        milvus_pb2.TopKQueryResult,
        row_num=st.integers(0, 9),
        ids=st.lists(st.integers(0, 9)),
        status=st.none() | st.builds(Status, error_code=st.integers(0, 24), reason=st.text(max_size=20)),
    )
)
def test_the_status_is_the_one_that_protobuf_reads(message):
    assert status_of("Search", message.SerializeToString()) == (message.status.error_code, message.status.reason)


@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=40))
def test_any_bytes_give_a_status_or_say_that_they_are_no_reply(method, reply):
    try:
        code, reason = status_of(method, reply)
    except MalformedReply:
        return
    assert isinstance(code, int)
    assert isinstance(reason, str)
