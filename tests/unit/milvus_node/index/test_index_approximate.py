"""The indexes that are not exhaustive: recall, distances, deleted rows, small inputs, threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvus_node.index import forest, reference
from milvus_node.index.api import BuildParams, SearchParams, VectorIndex
from milvus_node.index.factory import build
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID

Built = Callable[[IndexType, MetricType], VectorIndex]

PARAMS = SearchParams(nprobe=24, ef=128, search_k=4000, search_length=128)
FLOAT_TYPES = [
    IndexType.IVF_FLAT,
    IndexType.IVF_SQ8,
    IndexType.IVF_PQ,
    IndexType.HNSW,
    IndexType.RNSG,
    IndexType.ANNOY,
]
FLOAT_KINDS = [(kind, metric) for kind in FLOAT_TYPES for metric in (MetricType.L2, MetricType.IP)]
BINARY_KINDS = [
    (IndexType.BIN_IVF_FLAT, metric) for metric in (MetricType.HAMMING, MetricType.JACCARD, MetricType.TANIMOTO)
]
KINDS = FLOAT_KINDS + BINARY_KINDS
GRAPHS_AND_TREES = [
    (kind, metric) for kind, metric in FLOAT_KINDS if kind in (IndexType.HNSW, IndexType.RNSG, IndexType.ANNOY)
]

LEAST_RECALL = {IndexType.IVF_PQ: 0.6, IndexType.BIN_IVF_FLAT: 0.85, IndexType.IVF_SQ8: 0.9, IndexType.ANNOY: 0.9}
"""Share of the true ten nearest; 0.92 for the others."""

CODING_ERROR = {IndexType.IVF_PQ: 0.4, IndexType.IVF_SQ8: 5e-3}
"""How far a distance measured on codes may be off; the others measure the vectors."""


def sample_of(metric: MetricType, words: Any, fingerprints: Any) -> Any:
    return fingerprints if metric.is_binary else words


def recall(found: np.ndarray, exact: np.ndarray, metric: MetricType, deleted: np.ndarray | None = None) -> float:
    """The share of found ids that are no farther than the true k-th: with ties, there is more than one right answer."""
    order = -exact if metric.larger_is_nearer else exact.copy()
    if deleted is not None:
        order[:, deleted] = np.inf
    kth = np.sort(order, axis=1)[:, found.shape[1] - 1 : found.shape[1]]
    return float((np.take_along_axis(order, found, 1) <= kth + 1e-6).mean())


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_most_true_neighbours_are_found_at_their_true_distance(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any
) -> None:
    sample, index = sample_of(metric, words, fingerprints), built(kind, metric)
    assert (index.index_type, index.metric, index.rows) == (kind, metric, len(sample.base))
    found = index.search(sample.query, 10, PARAMS)
    exact = reference.distances(metric, sample.query, sample.base)
    assert recall(found.ids, exact, metric) >= LEAST_RECALL.get(kind, 0.92)
    error = CODING_ERROR.get(kind, 4e-6)
    np.testing.assert_allclose(found.distances, np.take_along_axis(exact, found.ids, 1), rtol=0, atol=error)


@pytest.mark.parametrize(("kind", "metric"), KINDS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_deleted_rows_never_appear_and_the_others_are_still_found(
    kind: IndexType, metric: MetricType, share: float, built: Built, words: Any, fingerprints: Any
) -> None:
    sample, index = sample_of(metric, words, fingerprints), built(kind, metric)
    deleted = np.random.default_rng(8).random(index.rows) < share
    found = index.search(sample.query, 10, PARAMS, deleted=deleted)
    assert not deleted[found.ids[found.ids != NO_ID]].any()
    exact = reference.distances(metric, sample.query, sample.base)
    assert recall(found.ids, exact, metric, deleted) >= LEAST_RECALL.get(kind, 0.92) - 0.03


@pytest.mark.parametrize(("kind", "metric"), GRAPHS_AND_TREES)
def test_graphs_and_trees_return_every_live_row_there_is(
    kind: IndexType, metric: MetricType, built: Built, words: Any
) -> None:
    index = built(kind, metric)
    live = np.sort(np.random.default_rng(6).choice(index.rows, 25, replace=False))
    deleted = np.ones(index.rows, np.bool_)
    deleted[live] = False
    found = index.search(words.query, 40, PARAMS, deleted=deleted)
    np.testing.assert_array_equal(np.sort(found.ids[:, :25], axis=1), np.tile(live, (50, 1)))
    assert (found.ids[:, 25:] == NO_ID).all()
    assert (found.distances[:, 25:] == EMPTY_DISTANCE).all()


@pytest.mark.parametrize("kind", [IndexType.HNSW, IndexType.RNSG])
def test_queries_whose_walk_ends_early_are_answered_exactly(
    kind: IndexType, built: Built, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = built(kind, MetricType.L2)
    walk = index._walk  # type: ignore[attr-defined]  # of graphs only

    def walk_that_ends_early(*arguments: Any) -> Any:
        answer = walk(*arguments)
        answer.ids[::2, 7:] = NO_ID
        return answer

    monkeypatch.setattr(index, "_walk", walk_that_ends_early)
    found = index.search(words.query, 10, PARAMS)
    expected = reference.search(MetricType.L2, words.query, words.base, 10)
    np.testing.assert_array_equal(found.ids[::2], expected.ids[::2])


@pytest.mark.parametrize(("kind", "metric"), KINDS)
@pytest.mark.parametrize("rows", [1, 2, 7, 130])
def test_few_rows_are_all_found(kind: IndexType, metric: MetricType, rows: int, words: Any, fingerprints: Any) -> None:
    sample = sample_of(metric, words, fingerprints)
    index = build(kind, metric, sample.base[:rows], BuildParams(m=20))
    found = index.search(sample.query, rows + 3, PARAMS)
    np.testing.assert_array_equal(
        np.sort(found.ids[:, :rows], axis=1), np.tile(np.arange(rows), (len(sample.query), 1))
    )
    assert (found.ids[:, rows:] == NO_ID).all()


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_no_live_row_is_nothing_but_padding(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any
) -> None:
    index, sample = built(kind, metric), sample_of(metric, words, fingerprints)
    found = index.search(sample.query[:5], 4, PARAMS, deleted=np.ones(index.rows, np.bool_))
    assert (found.ids == NO_ID).all()
    assert (found.distances == EMPTY_DISTANCE).all()


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_equal_rows_come_in_row_order(kind: IndexType, metric: MetricType, words: Any, fingerprints: Any) -> None:
    sample = sample_of(metric, words, fingerprints)
    index = build(kind, metric, np.repeat(sample.base[:40], 5, axis=0), BuildParams(m=20))
    found = index.search(sample.base[:40], 5, SearchParams(nprobe=10, search_k=10_000))
    np.testing.assert_array_equal(found.ids, np.arange(200).reshape(40, 5))


@pytest.mark.parametrize("nq", [1, 5, 100])
def test_ivf_flat_puts_a_row_at_exactly_zero_from_itself(built: Built, words: Any, nq: int) -> None:
    found = built(IndexType.IVF_FLAT, MetricType.L2).search(words.base[:nq], 1, SearchParams(nprobe=2))
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(nq))
    assert (found.distances == 0).all()


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_k_may_exceed_what_is_searched(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any
) -> None:
    index, sample = built(kind, metric), sample_of(metric, words, fingerprints)
    found = index.search(sample.query[:3], 16_384, SearchParams(nprobe=1))
    hits = (found.ids != NO_ID).sum(axis=1)
    assert found.ids.shape == found.distances.shape == (3, 16_384)
    for ids, count in zip(found.ids, hits, strict=True):
        assert 1 <= count <= index.rows
        assert (ids[:count] != NO_ID).all()
        assert len(set(ids[:count].tolist())) == count


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_many_threads_get_what_one_gets(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any
) -> None:
    index, sample = built(kind, metric), sample_of(metric, words, fingerprints)
    deleted = np.random.default_rng(3).random(index.rows) < 0.2
    calls = [
        (SearchParams(nprobe=8 * n, ef=32 * n, search_k=2000 * n, search_length=32 * n), mask)
        for n in (1, 2, 3)
        for mask in (None, deleted)
    ]
    alone = [index.search(sample.query[:8], 10, params, deleted=mask).ids for params, mask in calls]
    with ThreadPoolExecutor(8) as pool:
        turns = [number % len(calls) for number in range(60)]
        together = pool.map(lambda n: index.search(sample.query[:8], 10, calls[n][0], deleted=calls[n][1]).ids, turns)
        for turn, ids in zip(turns, together, strict=True):
            np.testing.assert_array_equal(ids, alone[turn])


@pytest.mark.parametrize(("kind", "metric"), KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_an_answer_does_not_depend_on_the_batch_down_to_the_last_bit(
    kind: IndexType, metric: MetricType, share: float, built: Built, words: Any, fingerprints: Any
) -> None:
    sample, index = sample_of(metric, words, fingerprints), built(kind, metric)
    queries = np.concatenate([sample.query, sample.base[:14]])[:64]
    deleted = np.random.default_rng(4).random(index.rows) < share
    together = index.search(queries, 10, PARAMS, deleted=deleted)
    for number in range(len(queries)):
        alone = index.search(queries[number : number + 1], 10, PARAMS, deleted=deleted)
        np.testing.assert_array_equal(alone.ids[0], together.ids[number])
        np.testing.assert_array_equal(alone.distances[0], together.distances[number])


@pytest.mark.parametrize("kind", [kind for kind in FLOAT_TYPES if kind is not IndexType.ANNOY])
def test_vectors_may_be_a_read_only_file(kind: IndexType, words: Any, built: Built, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(bytes(8) + words.base.tobytes())
    mapped = np.memmap(path, np.float32, "r", offset=8, shape=words.base.shape)
    index = build(kind, MetricType.L2, mapped, BuildParams(nlist=64, m=20))
    expected = built(kind, MetricType.L2).search(words.query, 10, PARAMS)
    np.testing.assert_array_equal(index.search(words.query, 10, PARAMS).ids, expected.ids)


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_memory_is_accounted_for(
    kind: IndexType, metric: MetricType, built: Built, words: Any, fingerprints: Any
) -> None:
    codes = {IndexType.IVF_SQ8: 6000 * 112, IndexType.IVF_PQ: 6000 * 20}
    least = codes.get(kind, sample_of(metric, words, fingerprints).base.nbytes)
    assert least < built(kind, metric).memory_bytes < 2.5 * least + (2 << 20)


@pytest.mark.parametrize(
    ("kind", "metric", "params", "message"),
    [
        (IndexType.BIN_IVF_FLAT, MetricType.SUBSTRUCTURE, BuildParams(), "Illegal index params"),
        (IndexType.HNSW, MetricType.JACCARD, BuildParams(), "Illegal index params"),
        (IndexType.IVF_SQ8H, MetricType.L2, BuildParams(), "Illegal index params"),
        (IndexType.BIN_FLAT, MetricType.L2, BuildParams(), "Illegal index params"),
        (IndexType.IVF_PQ, MetricType.L2, BuildParams(m=33), "m 33 does not divide dimension 100"),
        (IndexType.IVF_PQ, MetricType.L2, BuildParams(m=0), "m 0 does not divide dimension 100"),
    ],
)
def test_what_cannot_be_built_is_refused(
    kind: IndexType, metric: MetricType, params: BuildParams, message: str, words: Any, fingerprints: Any
) -> None:
    with pytest.raises(BuildFailed, match=message):
        build(kind, metric, sample_of(metric, words, fingerprints).base[:500], params)


def test_vectors_that_are_no_numbers_are_refused_by_lists(words: Any) -> None:
    with pytest.raises(BuildFailed, match=r"IVF_FLAT over L2, \[500, 100\]: .*NaN"):
        build(IndexType.IVF_FLAT, MetricType.L2, np.full((500, 100), np.nan, np.float32), BuildParams())


@pytest.mark.parametrize("metric", [MetricType.IP, MetricType.TANIMOTO])
def test_flat_is_the_vectors_themselves(metric: MetricType, words: Any, fingerprints: Any) -> None:
    sample = sample_of(metric, words, fingerprints)
    index = build(IndexType.FLAT, metric, sample.base, BuildParams())
    assert index.index_type is (IndexType.BIN_FLAT if metric.is_binary else IndexType.FLAT)
    assert index.memory_bytes == sample.base.nbytes + 4 * index.rows
    np.testing.assert_array_equal(index.search(sample.base[:9], 1, PARAMS).ids[:, 0], np.arange(9))


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.JACCARD])
def test_an_index_of_no_rows_is_refused(metric: MetricType, words: Any, fingerprints: Any) -> None:
    with pytest.raises(BuildFailed, match="no rows"):
        build(IndexType.FLAT, metric, sample_of(metric, words, fingerprints).base[:0], BuildParams())


def test_without_its_package_annoy_is_refused_by_name(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "_package", lambda: None)
    with pytest.raises(BuildFailed, match=r"mishards\[annoy\]"):
        build(IndexType.ANNOY, MetricType.L2, words.base, BuildParams())
