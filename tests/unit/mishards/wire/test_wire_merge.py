from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mishards.errors import IllegalTopK, MalformedReply
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK
from mishards.topk import merge as merge_arrays
from mishards.wire import merge as merge_module
from mishards.wire.merge import merge_results
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.replies import error_reply
from mishards.wire.results import decode_result, encode_result

NO_ROWS = encode_result(None)

SMALL_IDS = st.integers(0, 3)
CLOCK_IDS = st.integers(2**60, 2**60 + 3) | st.integers(2**56, 2**63 - 1)
ANY_IDS = st.just(NO_ID) | st.integers(-3, 300) | st.integers(-(2**63), 2**63 - 1)
DISTANCES = st.sampled_from([0.0, -0.0, 1.0, 2.0, math.inf, math.nan, -math.inf, float(EMPTY_DISTANCE)]) | st.floats(
    width=32
)


@st.composite
def parts(draw):
    """Answers to the same queries, of one width or of several, with ids of one size or of many, or with no rows."""
    rows = draw(st.just(1) | st.integers(1, 4))
    widths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    if draw(st.booleans()):
        widths = [widths[0]] * len(widths)
    ids = draw(st.sampled_from([SMALL_IDS, CLOCK_IDS, ANY_IDS]))
    distances = draw(st.sampled_from([DISTANCES, st.floats(0, 1, width=32)]))
    return [
        TopK(
            draw(npst.arrays(np.int64, (rows, width), elements=ids)),
            draw(npst.arrays(np.float32, (rows, width), elements=distances)),
        )
        for width in widths
    ]


@pytest.fixture(params=["few", "many"])
def path(request, monkeypatch):
    """Both ways to merge: lists of one query, and arrays."""
    monkeypatch.setattr(merge_module, "_FEW_BYTES", 0 if request.param == "many" else 10**9)


def _assert_merged(reply: bytes, answers: list[TopK], k: int, larger_is_nearer: bool) -> None:
    code, rows, merged = decode_result(reply)
    wanted = merge_arrays(answers, k, larger_is_nearer)
    assert code == 0
    assert rows == len(wanted.ids)
    width = merged.ids.shape[1]
    hits = int((wanted.ids != NO_ID).sum(axis=1).max())
    assert min(hits, k) <= width <= min(k, hits + 1)
    np.testing.assert_array_equal(merged.ids, wanted.ids[:, :width])
    np.testing.assert_array_equal(merged.distances, wanted.distances[:, :width])


@pytest.mark.usefixtures("path")
class TestMerging:
    @given(parts(), st.integers(1, 20), st.booleans(), st.data())
    def test_the_bytes_are_those_of_the_merged_arrays(self, answers, k, larger_is_nearer, data):
        replies = [encode_result(answer) for answer in answers]
        for _ in range(data.draw(st.integers(0, 2))):
            replies.insert(data.draw(st.integers(0, len(replies))), NO_ROWS)
        _assert_merged(merge_results(replies, k, larger_is_nearer), answers, k, larger_is_nearer)

    @given(parts(), st.integers(1, 20), st.booleans(), st.randoms())
    def test_the_order_of_the_replies_does_not_matter(self, answers, k, larger_is_nearer, random):
        replies = [encode_result(answer) for answer in answers]
        merged = decode_result(merge_results(replies, k, larger_is_nearer))[2]
        random.shuffle(replies)
        again = decode_result(merge_results(replies, k, larger_is_nearer))[2]
        np.testing.assert_array_equal(merged.ids, again.ids)
        np.testing.assert_array_equal(merged.distances, again.distances)

    def test_answers_without_rows_merge_to_one(self):
        assert merge_results([NO_ROWS, NO_ROWS], 5, False) == NO_ROWS
        assert merge_results([], 5, False) == NO_ROWS

    def test_everything_deleted_is_a_row_without_hits(self):
        deleted = TopK(np.full((2, 1), NO_ID), np.full((2, 1), EMPTY_DISTANCE))
        assert merge_results([encode_result(deleted), NO_ROWS, encode_result(deleted)], 5, True) == encode_result(
            deleted
        )

    def test_a_short_answer_has_one_place_more_than_hits(self):
        one = TopK(np.array([[7, NO_ID]]), np.array([[1, EMPTY_DISTANCE]], np.float32))
        two = TopK(np.array([[5, 6, NO_ID]]), np.array([[3, 2, EMPTY_DISTANCE]], np.float32))
        merged = TopK(np.array([[5, 6, 7, NO_ID]]), np.array([[3, 2, 1, EMPTY_DISTANCE]], np.float32))
        assert merge_results([encode_result(one), encode_result(two)], 10, True) == encode_result(merged)

    def test_equal_distances_are_in_the_order_of_their_ids(self):
        replies = [
            encode_result(TopK(np.array([[at, 2**60 - at]]), np.array([[1, 2]], np.float32))) for at in (3, 1, 2)
        ]
        merged = TopK(np.array([[1, 2, 3, 2**60 - 3]]), np.array([[1, 1, 1, 2]], np.float32))
        assert merge_results(replies, 4, False) == encode_result(merged)

    def test_replies_that_disagree_on_the_queries_are_malformed(self):
        one, two = (
            encode_result(TopK(np.ones((rows, 2), np.int64), np.ones((rows, 2), np.float32))) for rows in (1, 2)
        )
        for replies in ([one, two], [two, one], [one, NO_ROWS, two, one]):
            with pytest.raises(MalformedReply, match="disagree"):
                merge_results(replies, 2, False)

    def test_a_failed_reply_is_never_merged(self):
        one = encode_result(TopK(np.ones((1, 2), np.int64), np.ones((1, 2), np.float32)))
        for replies in ([one, error_reply("Search", IllegalTopK(0, 1))], [error_reply("Search", IllegalTopK(0, 1))]):
            with pytest.raises(MalformedReply, match="code 10"):
                merge_results(replies, 2, False)

    @given(st.lists(st.binary(max_size=30), min_size=1, max_size=3), st.booleans())
    def test_any_bytes_are_merged_or_malformed(self, tails, canonical):
        head = b"\x0a\x04\x12\x02OK\x10\x01\x1a" if canonical else b""
        try:
            merged = merge_results([head + tail for tail in tails], 3, False)
        except MalformedReply:
            return
        TopKQueryResult.FromString(merged)

    @pytest.mark.parametrize("tail", [b"\x10\x00", b"\x10\x02", b"\x0a\x02\x08\x01", b"\x18\x05"])
    def test_a_canonical_start_does_not_hide_a_strange_end(self, tail):
        good = encode_result(TopK(np.array([[1]]), np.array([[1]], np.float32)))
        with pytest.raises(MalformedReply):
            merge_results([good, good + tail], 2, False)


def _sorted_answer(rows: int, width: int, ids: np.ndarray | None = None) -> TopK:
    random = np.random.default_rng(width)
    distances = np.sort(random.permutation(rows * width).astype(np.float32).reshape(rows, width), axis=1)
    return TopK(np.arange(rows * width).reshape(rows, width) if ids is None else ids, distances)


@pytest.mark.parametrize(("parts_", "rows", "width"), [(8, 100, 100), (3, 1, 5000), (2, 1000, 10)])
@pytest.mark.parametrize("ids", ["clock", "small"])
@pytest.mark.parametrize("short", [False, True])
def test_large_replies_are_merged_as_arrays_are(parts_, rows, width, ids, short):
    random = np.random.default_rng(rows)
    answers = []
    for at in range(parts_):
        own = (
            random.integers(2**60, 2**62, (rows, width)) if ids == "clock" else random.integers(0, 10**6, (rows, width))
        )
        answers.append(_sorted_answer(rows, width, own))
        if short and at == 1:
            answers[-1].ids[:, -3:] = NO_ID
    _assert_merged(merge_results([encode_result(a) for a in answers], width, False), answers, width, False)


@pytest.mark.parametrize("width", [100, 40])
def test_a_reply_that_is_alone_and_final_passes_unchanged(width):
    reply = encode_result(_sorted_answer(100, width))
    assert merge_results([reply], 100, False) is reply
    assert merge_results([NO_ROWS, reply], 100, False) is reply


def test_a_reply_that_is_alone_does_not_pass_with_an_id_that_is_none():
    for ids in (b"\x80" * 10 + b"\x01", b"\x01" + b"\x80" * 11 + b"\x01"):
        count = len(ids) - ids.count(b"\x80")
        distances = np.arange(count, dtype=np.float32).tobytes()
        reply = NO_ROWS + b"\x10\x01\x1a" + bytes([len(ids)]) + ids + b"\x22" + bytes([len(distances)]) + distances
        with pytest.raises(MalformedReply):
            merge_results([reply], 5, False)


def test_a_reply_that_is_alone_is_put_right_where_it_is_not_final():
    answer = _sorted_answer(100, 50)
    for spoil in ("wide", "order", "tie", "placeholder"):
        spoiled = TopK(answer.ids.copy(), answer.distances.copy())
        if spoil == "order":
            spoiled.distances[7] = spoiled.distances[7, ::-1]
        elif spoil == "tie":
            spoiled.distances[7, 1] = spoiled.distances[7, 0]
        elif spoil == "placeholder":
            spoiled.ids[7, 0] = NO_ID
        k = 49 if spoil == "wide" else 50
        reply = encode_result(spoiled)
        merged = merge_results([reply], k, False)
        assert merged is not reply
        _assert_merged(merged, [spoiled], k, False)
