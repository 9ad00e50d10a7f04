"""Heads of requests that are known but for their metadata say what looking at all of them says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.transport.h2.grpc_fields import head_of, parsed_request

NAMES = st.sampled_from(
    [b":method", b":scheme", b":path", b":authority", b"te", b"content-type", b"content-length", b"grpc-timeout",
     b"grpc-encoding", b"request_id", b"trace-bin", b"x-y", b"X-Y", b"connection", b"user-agent", b":status", b""]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"POST", b"http", b"/milvus.grpc.MilvusService/Search", b"application/grpc", b"trailers", b"12", b"5S", b"gzip",
     b"", b"a\nb", b"\0", b"plain", b"\xff"]
)  # fmt: skip
SOUND = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/milvus.grpc.MilvusService/Search"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


@settings(max_examples=400)
@given(st.booleans(), st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_a_head_is_the_same_whether_its_like_was_known_or_not(sound: bool, more: list[tuple[bytes, bytes]]) -> None:
    fields = [*(SOUND if sound else []), *more]
    assert parsed_request(fields) == head_of(fields)


def test_metadata_of_one_call_are_not_those_of_another() -> None:
    heads = [parsed_request([*SOUND, (b"request_id", value), (b"x-y", b"1")]) for value in (b"a", b"b", b"a\n")]
    assert [dict(head.metadata).get("request_id") for head in heads] == ["a", "b", None]
    assert [head.malformed for head in heads] == [False, False, True]
