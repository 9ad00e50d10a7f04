from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.index import reference
from milvus_node.index.api import SearchParams
from milvus_node.index.flat import FlatIndex
from mishards.kinds import MetricType
from mishards.topk import NO_ID, TopK

PARAMS = SearchParams()
FLOAT_METRICS = [MetricType.L2, MetricType.IP]


def assert_same(found: TopK, expected: TopK) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


def one_by_one(index: FlatIndex, queries: np.ndarray, k: int, **given: Any) -> TopK:
    answers = [index.search(query[None], k, PARAMS, **given) for query in queries]
    return TopK(np.concatenate([a.ids for a in answers]), np.concatenate([a.distances for a in answers]))


@st.composite
def small_whole_numbers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, queries and deleted rows. Whole numbers are exact in every order of summation, and tie often."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, dimension = draw(st.integers(1, 150)), draw(st.integers(1, 6))
    vectors = random.integers(-2, 3, (rows, dimension)).astype(np.float32)
    queries = random.integers(-2, 3, (draw(st.integers(1, 9)), dimension)).astype(np.float32)
    return vectors, queries, random.random(rows) < draw(st.sampled_from([0, 0.01, 0.1, 0.5, 1]))


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@given(arrays=small_whole_numbers(), k=st.integers(1, 60))
def test_flat_answers_as_the_oracle(
    metric: MetricType, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], k: int
) -> None:
    vectors, queries, deleted = arrays
    found = FlatIndex(vectors, metric).search(queries, k, PARAMS, deleted=deleted)
    assert_same(found, reference.search(metric, queries, vectors, k, deleted=deleted))


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("k", [1, 10, 99, 100, 1000, 5999, 6000])
def test_flat_finds_the_true_neighbours_of_words(words: Any, metric: MetricType, k: int) -> None:
    found = FlatIndex(words.base, metric).search(words.query, k, PARAMS)
    exact = reference.distances(metric, words.query, words.base)
    np.testing.assert_allclose(found.distances, np.take_along_axis(exact, found.ids, 1), rtol=2e-6, atol=2e-6)
    expected = np.sort(-exact if metric.larger_is_nearer else exact, axis=1)[:, :k]
    np.testing.assert_allclose(np.abs(found.distances), np.abs(expected), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize(
    ("k", "deleted_share"), [(1, 0), (10, 0), (500, 0), (10, 0.01), (10, 0.1), (10, 0.5), (300, 0.9)]
)
def test_an_answer_does_not_depend_on_the_size_of_the_batch(
    words: Any, metric: MetricType, k: int, deleted_share: float
) -> None:
    index = FlatIndex(words.base, metric)
    queries = np.concatenate([words.query, words.base[:150]])
    deleted = np.random.default_rng(1).random(index.rows) < deleted_share
    together = index.search(queries, k, PARAMS, deleted=deleted)
    assert_same(together, one_by_one(index, queries, k, deleted=deleted))
    assert not deleted[together.ids].any()


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 7, 8, 12, 16, 33, 96, 768, 1536])
@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_no_dimension_makes_a_batch_differ(metric: MetricType, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    index = FlatIndex(random.standard_normal((700, dimension), np.float32), metric)
    queries = random.standard_normal((20, dimension), np.float32)
    assert_same(index.search(queries, 12, PARAMS), one_by_one(index, queries, 12))


def test_near_duplicates_far_from_the_origin_are_told_apart_in_a_batch() -> None:
    # |x|^2 + |y|^2 - 2xy loses all digits of these distances.
    vectors = (50 + 1e-3 * np.random.default_rng(5).standard_normal((1000, 128))).astype(np.float32)
    index = FlatIndex(vectors, MetricType.L2)
    found = index.search(vectors[:64], 5, PARAMS)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(64))
    assert_same(found, one_by_one(index, vectors[:64], 5))


@pytest.mark.parametrize("nq", [1, 3, 4, 200])
def test_the_distance_of_a_row_to_itself_is_exactly_zero(words: Any, nq: int) -> None:
    found = FlatIndex(words.base, MetricType.L2).search(words.base[:nq], 1, PARAMS)
    assert (found.distances == 0).all()
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(nq))


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("nq", [1, 50])
def test_equal_rows_come_in_row_order_even_across_the_end_of_the_answer(metric: MetricType, nq: int) -> None:
    vectors = np.tile(np.random.default_rng(2).standard_normal((1, 8)).astype(np.float32), (5000, 1))
    found = FlatIndex(vectors, metric).search(vectors[:nq], 300, PARAMS)
    np.testing.assert_array_equal(found.ids, np.tile(np.arange(300), (nq, 1)))


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_the_largest_k_of_the_protocol_is_answered(metric: MetricType) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((40_000, 4), np.float32)
    queries = random.standard_normal((5, 4), np.float32)
    found = FlatIndex(vectors, metric).search(queries, 16_384, PARAMS)
    assert_same(found, one_by_one(FlatIndex(vectors, metric), queries, 16_384))
    distances = found.distances if metric is MetricType.L2 else -found.distances
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(ids)) == 16_384 for ids in found.ids.tolist())


def test_more_than_all_rows_is_all_rows_and_padding(words: Any) -> None:
    found = FlatIndex(words.base[:3], MetricType.IP).search(words.query[:5], 7, PARAMS)
    assert (np.sort(found.ids[:, :3], axis=1) == [0, 1, 2]).all()
    assert (found.ids[:, 3:] == NO_ID).all()


def test_no_live_row_is_nothing_but_padding(words: Any) -> None:
    index = FlatIndex(words.base, MetricType.L2)
    for nq in (1, 50):
        found = index.search(words.query[:nq], 4, PARAMS, deleted=np.ones(index.rows, np.bool_))
        assert (found.ids == NO_ID).all()


def test_a_search_may_use_the_other_metric(words: Any) -> None:
    by_override = FlatIndex(words.base, MetricType.L2).search(words.query, 9, PARAMS, metric=MetricType.IP)
    assert_same(by_override, FlatIndex(words.base, MetricType.IP).search(words.query, 9, PARAMS))


def test_one_row_of_enormous_length_costs_no_neighbour(words: Any) -> None:
    vectors = np.concatenate([words.base, np.full((1, 100), 1e6, np.float32)])
    for metric in FLOAT_METRICS:
        index = FlatIndex(vectors, metric)
        assert_same(index.search(words.query, 10, PARAMS), one_by_one(index, words.query, 10))


@pytest.mark.parametrize("nq", [1, 8])
def test_a_query_that_is_not_a_number_finds_nothing_and_harms_no_other(words: Any, nq: int) -> None:
    index = FlatIndex(words.base, MetricType.L2)
    queries = words.query[:nq].copy()
    queries[0, 3] = np.nan
    found = index.search(queries, 5, PARAMS)
    assert (found.ids[0] == NO_ID).all()
    assert_same(TopK(found.ids[1:], found.distances[1:]), TopK(*_split(index.search(words.query[:nq], 5, PARAMS))))


def _split(answer: TopK) -> tuple[Any, Any]:
    return answer.ids[1:], answer.distances[1:]


def test_a_read_only_file_is_searched_where_it_lies(words: Any, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(bytes(8) + words.base.tobytes())
    mapped = np.memmap(path, np.float32, "r", offset=8, shape=words.base.shape)
    index = FlatIndex(mapped, MetricType.L2)
    assert np.shares_memory(index._vectors, mapped)
    in_memory = FlatIndex(words.base, MetricType.L2)
    assert_same(index.search(words.query, 10, PARAMS), in_memory.search(words.query, 10, PARAMS))


@pytest.mark.parametrize(
    ("queries", "k", "deleted"),
    [
        (np.empty((0, 100), np.float32), 1, None),
        (np.empty((1, 99), np.float32), 1, None),
        (np.empty((1, 100), np.float64), 1, None),
        (np.empty(100, np.float32), 1, None),
        (np.empty((1, 100), np.float32), 0, None),
        (np.empty((1, 100), np.float32), 1, np.zeros(5, np.bool_)),
        (np.empty((1, 100), np.float32), 1, np.zeros(6000, np.uint8)),
    ],
)
def test_arguments_that_do_not_fit_are_refused(words: Any, queries: Any, k: int, deleted: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        FlatIndex(words.base, MetricType.L2).search(queries, k, PARAMS, deleted=deleted)


def test_vectors_that_would_have_to_be_copied_are_refused(words: Any) -> None:
    for vectors in (words.base[:, :50], words.base.astype(np.float64), words.base[0]):
        with pytest.raises(ValueError, match="contiguous"):
            FlatIndex(vectors, MetricType.L2)
