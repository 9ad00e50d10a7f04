"""Heads of requests that are known but for their metadata say what looking at all of them says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mishards.transport.h2.grpc_fields import RequestHead, head_of, parsed_request, request_by_last
from mishards.transport.h2.headers import HeaderDecoder, field, field_of_static

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


def decoder(*, remembers: bool = True) -> HeaderDecoder[RequestHead]:
    return HeaderDecoder(parsed_request, 1 << 15, request_by_last if remembers else None)


def block_of(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(field(name, value) for name, value in fields)


LAST = st.sampled_from([b"a", b"b", b"5S", b"6S", b"\n", b"\xff", b"POST", b"http", b"trailers", b"ab", b"a\nb"])
MORE = st.lists(st.tuples(NAMES.filter(bool), VALUES), max_size=3)


@settings(max_examples=400)
@given(MORE, NAMES.filter(bool), st.lists(LAST, min_size=1, max_size=8))
def test_heads_that_differ_in_their_last_value_are_what_they_are_each_by_itself(
    more: list[tuple[bytes, bytes]], name: bytes, values: list[bytes]
) -> None:
    knowing = decoder()
    for value in values:
        block = block_of([*SOUND, *more, (name, value)])
        assert knowing.decode(block) == decoder(remembers=False).decode(block)


@settings(max_examples=200)
@given(st.lists(st.tuples(MORE, st.integers(1, 61), LAST), min_size=1, max_size=8))
def test_so_are_heads_that_end_with_any_field_of_the_static_table(
    heads: list[tuple[list[tuple[bytes, bytes]], int, bytes]],
) -> None:
    knowing = decoder()
    for more, index, value in heads:
        for last in (field_of_static(index, value), bytes([0x80 | index])):
            block = block_of([*SOUND, *more]) + last
            assert knowing.decode(block) == decoder(remembers=False).decode(block)


def test_what_differs_in_its_last_value_only_is_not_looked_at_again() -> None:
    looked: list[object] = []

    def look(fields: object) -> RequestHead:
        looked.append(fields)
        return parsed_request(fields)  # type: ignore[arg-type]  # fields, as they come

    knowing = HeaderDecoder(look, 1 << 15, request_by_last)
    ids = [b"%016x" % number for number in range(1000)]
    heads = [knowing.decode(block_of([*SOUND, (b"x-y", b"1"), (b"request_id", each)])) for each in ids]
    assert [head.metadata for head in heads] == [(("x-y", "1"), ("request_id", each.decode())) for each in ids]
    assert len(looked) == 1


def test_a_peer_that_changes_everything_makes_a_decoder_remember_no_more_than_a_little() -> None:
    knowing = decoder()
    for number in range(2000):
        metadata = [(b"x%d" % number, b"1" * (number % 60)), (b"request_id", b"%d" % number)]
        assert knowing.decode(block_of([*SOUND, *metadata])).metadata[-1] == ("request_id", str(number))
    assert sum(map(len, knowing._forms.values())) <= 64
