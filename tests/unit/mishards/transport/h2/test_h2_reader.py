"""Frames are cut alike however the bytes arrive, and nothing that arrives is a surprise."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import h2_peer
from harness.h2_peer import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, WITH_PRIORITY
from mishards.transport.h2 import frames
from mishards.transport.h2.frames import ConnectionFault, ErrorCode, Setting
from mishards.transport.h2.reader import FrameReader

MAX_FRAME, MAX_BLOCK = 1 << 14, 1 << 12
CORPUS = Path(__file__).parents[4] / "data" / "h2_corpus"
"""Byte streams that took a path of their own once."""

LONGER = int(os.environ.get("MISHARDS_FUZZ_EXAMPLES", "0"))
"""So many examples instead of the profile's number."""


class Record:
    """What a reader hands on; pieces of DATA that belong together are joined."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []
        self.counted = 0

    def data_arrived(self, stream_id: int, data: bytes, span: tuple[int, int], counted: int, ended: bool) -> None:
        assert 0 <= span[0] <= span[1] <= len(data)
        assert stream_id > 0
        assert counted >= span[1] - span[0]
        self.counted += counted
        piece = data[span[0] : span[1]]
        if self.seen and self.seen[-1][0] == "data" and self.seen[-1][1] == stream_id and not self.seen[-1][3]:
            piece = bytes(self.seen.pop()[2]) + piece  # type: ignore[call-overload]
        self.seen.append(("data", stream_id, piece, ended))

    def headers_arrived(self, stream_id: int, block: bytes, ended: bool) -> None:
        assert stream_id > 0
        assert len(block) <= MAX_BLOCK
        self.seen.append(("headers", stream_id, block, ended))

    def control_arrived(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        assert kind not in (DATA, HEADERS, CONTINUATION)
        assert len(payload) <= MAX_FRAME
        self.seen.append(("control", kind, flags, stream_id, payload))


def read(pieces: list[bytes]) -> tuple[list[tuple[object, ...]], int, ErrorCode | None]:
    """What was seen, what was counted, and the fault that ended it."""
    record = Record()
    reader = FrameReader(record, MAX_FRAME, MAX_BLOCK)
    try:
        for piece in pieces:
            reader.feed(piece)
    except ConnectionFault as fault:
        return record.seen, record.counted, fault.error_code
    return record.seen, record.counted, None


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(place % (len(stream) + 1) for place in cuts)})
    return [stream[start:stop] for start, stop in pairwise(places)]


IDS = st.sampled_from([1, 1, 3, 5, (1 << 31) - 1])
BODIES = st.binary(max_size=300)


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[bytes, tuple[object, ...]]:
    """Frames of one event, and the event."""
    stream, body, ended = draw(IDS), draw(BODIES), draw(st.booleans())
    kind = draw(st.sampled_from(["data", "padded", "headers", "block", "control"]))
    flag = END_STREAM if ended else 0
    if kind == "data":
        return h2_peer.frame(DATA, flag, stream, body), ("data", stream, body, ended)
    if kind == "padded":
        pad = draw(st.integers(0, 255))
        padded = bytes([pad]) + body + bytes(pad)
        return h2_peer.frame(DATA, flag | PADDED, stream, padded), ("data", stream, body, ended)
    if kind == "headers":
        pad = draw(st.integers(0, 255))
        payload = bytes([pad]) + b"\0\0\0\0\7" + body + bytes(pad)
        flags = flag | END_HEADERS | PADDED | WITH_PRIORITY
        return h2_peer.frame(HEADERS, flags, stream, payload), ("headers", stream, body, ended)
    if kind == "block":
        parts = cut(body, draw(st.lists(st.integers(0, 300), max_size=5))) or [b""]
        first = h2_peer.frame(HEADERS, flag | (END_HEADERS if len(parts) == 1 else 0), stream, parts[0])
        last = len(parts) - 1
        more = [
            h2_peer.frame(CONTINUATION, END_HEADERS if number == last else 0, stream, part)
            for number, part in enumerate(parts)
        ][1:]
        return b"".join([first, *more]), ("headers", stream, body, ended)
    number, flags, any_stream = (
        draw(st.sampled_from([2, 3, 4, 5, 6, 7, 8, 10, 255])),
        draw(st.integers(0, 255)),
        draw(st.integers(0, (1 << 31) - 1)),
    )
    return h2_peer.frame(number, flags, any_stream, body), ("control", number, flags, any_stream, body)


@given(st.lists(well_formed(), max_size=12), st.lists(st.integers(0, 10_000), max_size=30))
def test_frames_are_read_alike_however_they_are_cut(
    events: list[tuple[bytes, tuple[object, ...]]], cuts: list[int]
) -> None:
    stream = b"".join(bytes_ for bytes_, _ in events)
    expected = Record()
    for _, event in events:
        if event[0] == "data":
            _, stream_id, body, ended = event
            assert isinstance(body, bytes)
            expected.data_arrived(int(str(stream_id)), body, (0, len(body)), len(body), bool(ended))
        else:
            expected.seen.append(event)
    assert read(cut(stream, cuts))[0::2] == (expected.seen, None)


def _same_however_cut(stream: bytes, cuts: list[int]) -> None:
    whole = read([stream])
    pieces = read(cut(stream, cuts))
    assert pieces[2] == whole[2]
    if whole[2] is None:
        assert pieces[:2] == whole[:2]


@settings(max_examples=LONGER or settings.default.max_examples)  # type: ignore[union-attr]
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda kind, flags, stream, body: h2_peer.frame(kind, flags, stream, body),
                st.integers(0, 11),
                st.sampled_from([0, 1, 4, 5, 8, 9, 12, 32, 36, 44, 255]),
                st.sampled_from([0, 1, 3]),
                st.binary(max_size=20),
            ),
        ),
        max_size=10,
    ).map(b"".join),
    st.lists(st.integers(0, 500), max_size=20),
)
def test_whatever_arrives_is_frames_or_a_fault_and_never_depends_on_how_it_was_cut(
    stream: bytes, cuts: list[int]
) -> None:
    _same_however_cut(stream, cuts)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_the_corpus_is_read_alike_byte_by_byte(path: Path) -> None:
    stream = path.read_bytes()
    _same_however_cut(stream, list(range(len(stream))))


def test_frames_that_are_built_are_those_of_the_specification() -> None:
    assert frames.settings({Setting.ENABLE_PUSH: 0}) == bytes.fromhex("000006 04 00 00000000 0002 00000000")
    assert bytes.fromhex("000000 04 01 00000000") == frames.SETTINGS_ACK
    assert frames.rst_stream(5, ErrorCode.CANCEL) == bytes.fromhex("000004 03 00 00000005 00000008")
    assert frames.window_update(0, 7) == bytes.fromhex("000004 08 00 00000000 00000007")
    assert frames.ping(b"abcdefgh", ack=True) == bytes.fromhex("000008 06 01 00000000") + b"abcdefgh"
    assert frames.goaway(3, ErrorCode.NO_ERROR, "x") == bytes.fromhex("000009 07 00 00000000 00000003 00000000 78")
    assert frames.header(0x123456, DATA, END_STREAM, 9) == bytes.fromhex("123456 00 01 00000009")


@given(st.binary(max_size=200), st.integers(1, 60), st.booleans())
def test_a_header_block_is_spread_over_frames_and_joined_again(block: bytes, max_frame: int, ended: bool) -> None:
    stream = frames.header_frames(7, block, max_frame, ended=ended)
    seen, _, fault = read([stream])
    if len(block) <= max_frame * 32:
        assert (seen, fault) == ([("headers", 7, block, ended)], None)
