from __future__ import annotations

import numpy as np
import pytest

from milvus_node.index import sampling
from milvus_node.index.api import BuildParams, SearchParams
from milvus_node.index.sampling import training_sample
from milvus_node.index.tuning import tuned_nbits, tuned_nlist


@pytest.mark.parametrize(
    ("nlist", "rows", "tuned"),
    [(16_384, 100_000, 2500), (1024, 40_960, 1024), (1024, 40_959, 1023), (100, 79, 1), (7, 3, 1), (1, 10**9, 1)],
)
def test_lists_are_lowered_to_forty_rows_each(nlist: int, rows: int, tuned: int) -> None:
    assert tuned_nlist(nlist, rows) == tuned


@pytest.mark.parametrize(
    ("nbits", "rows", "tuned"),
    [
        (8, 256, 8),
        (8, 255, 4),
        (16, 70_000, 16),
        (16, 5000, 8),
        (12, 300, 8),
        (8, 15, 2),
        (6, 63, 4),
        (8, 3, 1),
        (8, 1, 1),
    ],
)
def test_bits_are_lowered_while_centroids_outnumber_rows(nbits: int, rows: int, tuned: int) -> None:
    assert tuned_nbits(nbits, rows) == tuned


def test_a_sample_is_bounded_and_repeatable_and_without_repeats() -> None:
    vectors = np.arange(100_000, dtype=np.float32).reshape(-1, 1)
    sample = training_sample(vectors, 10, 100)
    assert len(np.unique(sample)) == 1000
    assert (np.diff(sample[:, 0]) > 0).all()
    np.testing.assert_array_equal(sample, training_sample(vectors, 10, 100))


def test_a_sample_of_everything_is_no_copy() -> None:
    vectors = np.zeros((50, 4), np.float32)
    assert np.shares_memory(training_sample(vectors, 10, 100), vectors)


def test_a_sample_is_bounded_in_bytes_but_has_a_row_for_each_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLE_BYTES", 1 << 16)
    vectors = np.zeros((10_000, 16), np.float32)
    assert training_sample(vectors, 16, 1000).nbytes == 1 << 16
    assert len(training_sample(vectors, 5000, 1)) == 5000


def test_fewer_rows_than_centroids_repeat() -> None:
    sample = training_sample(np.array([[1.0], [2.0]], np.float32), 5, 10)
    assert sample.ravel().tolist() == [1, 2, 1, 2, 1]


def test_parameters_are_taken_from_the_protocols_names() -> None:
    given = {"M": 12, "efConstruction": 99.9, "m": "four", "nlist": True, "unknown": 5, "n_trees": float("nan")}
    assert BuildParams.of(given) == BuildParams(links=12, ef_construction=99, nlist=1)
    assert SearchParams.of({"nprobe": 3, "search_k": -1, "ef": None}) == SearchParams(nprobe=3)
