from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.index import reference
from milvus_node.index.api import SearchParams
from milvus_node.index.binary import BinaryFlatIndex
from mishards.kinds import MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID

PARAMS = SearchParams()
BINARY_METRICS = [metric for metric in MetricType if metric.is_binary]


@st.composite
def sparse_bits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, queries and deleted rows, of few bits, so that rows contain one another, tie, or are empty."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(1, 120)), draw(st.sampled_from([1, 2, 3, 8, 9, 16, 33]))
    density = draw(st.sampled_from([0.03, 0.3, 0.9]))
    codes = np.packbits(random.random((rows, width * 8)) < density, axis=1)
    queries = np.packbits(random.random((draw(st.integers(1, 5)), width * 8)) < density, axis=1)
    return codes, queries, random.random(rows) < draw(st.sampled_from([0, 0.01, 0.1, 0.5, 1]))


@pytest.mark.parametrize("metric", BINARY_METRICS)
@given(arrays=sparse_bits(), k=st.integers(1, 130))
def test_binary_flat_answers_as_the_oracle(
    metric: MetricType, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], k: int
) -> None:
    codes, queries, deleted = arrays
    found = BinaryFlatIndex(codes, metric).search(queries, k, PARAMS, deleted=deleted)
    expected = reference.search(metric, queries, codes, k, deleted=deleted)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6, atol=1e-7)
    assert not np.signbit(found.distances).any()


@pytest.mark.parametrize("metric", BINARY_METRICS)
@pytest.mark.parametrize("deleted_share", [0, 0.01, 0.1, 0.5])
def test_molecules_are_found_as_by_the_oracle(fingerprints: Any, metric: MetricType, deleted_share: float) -> None:
    queries = np.concatenate([fingerprints.query, fingerprints.base[:40], np.zeros((1, 256), np.uint8)])
    deleted = np.random.default_rng(4).random(len(fingerprints.base)) < deleted_share
    found = BinaryFlatIndex(fingerprints.base, metric).search(queries, 30, PARAMS, deleted=deleted)
    expected = reference.search(metric, queries, fingerprints.base, 30, deleted=deleted)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(found.ids, expected.ids)
    assert not deleted[found.ids[found.ids != NO_ID]].any()


@pytest.mark.parametrize("metric", BINARY_METRICS)
def test_many_rows_and_queries_are_searched_block_by_block(metric: MetricType) -> None:
    random = np.random.default_rng(9)
    codes = random.integers(0, 256, (30_000, 2)).astype(np.uint8)
    queries = random.integers(0, 256, (70, 2)).astype(np.uint8)
    index = BinaryFlatIndex(codes, metric)
    together = index.search(queries, 16_384, PARAMS)
    for number in (0, 63, 64, 69):
        alone = reference.search(metric, queries[number : number + 1], codes, 16_384)
        np.testing.assert_array_equal(together.ids[number], alone.ids[0])


def test_tanimoto_of_what_does_not_overlap_is_infinite_with_a_real_id() -> None:
    codes = np.array([[0b1111_0000], [0b0000_1111], [0]], np.uint8)
    found = BinaryFlatIndex(codes, MetricType.TANIMOTO).search(codes[:1], 4, PARAMS)
    np.testing.assert_array_equal(found.ids, [[0, 1, 2, NO_ID]])
    np.testing.assert_array_equal(found.distances, [[0, np.inf, np.inf, EMPTY_DISTANCE]])
    assert not np.signbit(found.distances[0, 0])


def test_a_structure_search_gives_matches_in_row_order_at_distance_zero() -> None:
    codes = np.array([[0b111], [0b001], [0b011], [0b100]], np.uint8)
    query = np.array([[0b011]], np.uint8)
    containing = BinaryFlatIndex(codes, MetricType.SUBSTRUCTURE).search(query, 3, PARAMS)
    np.testing.assert_array_equal(containing.ids, [[0, 2, NO_ID]])
    contained = BinaryFlatIndex(codes, MetricType.SUPERSTRUCTURE).search(query, 3, PARAMS)
    np.testing.assert_array_equal(contained.ids, [[1, 2, NO_ID]])
    np.testing.assert_array_equal(contained.distances, [[0, 0, EMPTY_DISTANCE]])


def test_a_search_may_use_another_binary_metric(fingerprints: Any) -> None:
    index = BinaryFlatIndex(fingerprints.base, MetricType.JACCARD)
    for metric in BINARY_METRICS:
        found = index.search(fingerprints.query, 8, PARAMS, metric=metric)
        expected = BinaryFlatIndex(fingerprints.base, metric).search(fingerprints.query, 8, PARAMS)
        np.testing.assert_array_equal(found.ids, expected.ids)
    with pytest.raises(ValueError, match="IP is not of binary vectors"):
        index.search(fingerprints.query, 8, PARAMS, metric=MetricType.IP)


def test_arguments_that_do_not_fit_are_refused(fingerprints: Any) -> None:
    index = BinaryFlatIndex(fingerprints.base, MetricType.HAMMING)
    for queries in (fingerprints.query[:0], fingerprints.query[:, :8], fingerprints.query.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            index.search(queries, 3, PARAMS)
    for codes in (fingerprints.base[:, ::2], fingerprints.base.astype(np.int8), fingerprints.base[0]):
        with pytest.raises(ValueError, match="contiguous"):
            BinaryFlatIndex(codes, MetricType.HAMMING)
