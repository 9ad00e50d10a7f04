"""Index files written from the vectors' file, a block at a time: byte for byte what the index in memory writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milvus_node.errors import SegmentDamaged
from milvus_node.index import blocks, ivf, ivf_file, sampling
from milvus_node.index.api import BuildParams, SearchParams, StorableIndex
from milvus_node.index.factory import build, prepare
from milvus_node.index.file import Shape, load, save
from mishards.errors import BuildFailed
from mishards.kinds import IndexType, MetricType

TYPES = (IndexType.IVF_FLAT, IndexType.IVF_SQ8, IndexType.IVF_PQ)
METRICS = (MetricType.L2, MetricType.IP)


class Sliced:
    """Vectors of which every slice is a read; fails, or counts the largest."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self.shape, self.dtype = vectors.shape, vectors.dtype
        self.largest = self.reads = 0
        self.error_at = 1 << 30

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        self.reads += 1
        if self.reads > self.error_at:
            raise SegmentDamaged("the vectors are cut")
        block: NDArray[np.float32] = self._vectors[rows].copy()
        self.largest = max(self.largest, len(block))
        return block


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 512)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("small_blocks")
def test_the_file_is_that_of_the_index_in_memory_and_the_vectors_are_read_in_blocks(
    kind: IndexType, metric: MetricType, words: Any, tmp_path: Path
) -> None:
    vectors, params = Sliced(words.base), BuildParams(nlist=16, m=20, nbits=4)
    save(prepare(kind, metric, vectors, params), tmp_path / "streamed")
    assert vectors.largest == 512
    index = build(kind, metric, words.base, params)
    save(index, tmp_path / "whole")  # type: ignore[arg-type]  # no FLAT here
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows", [1, 39, 700])
def test_few_rows_in_one_list_or_in_lists_that_stay_empty_are_found_alike(
    kind: IndexType, rows: int, words: Any, tmp_path: Path
) -> None:
    base = np.repeat(words.base[:7], 100, axis=0)[:rows]  # seven points in 17 lists at most
    params = BuildParams(m=20)
    save(prepare(kind, MetricType.L2, base, params), tmp_path / "index")
    loaded = load(tmp_path / "index", Shape(MetricType.L2, rows, base.shape[1]))
    whole = build(kind, MetricType.L2, base, params)
    for deleted in (None, np.arange(rows) % 3 == 1):
        given = words.query[:9], 12, SearchParams(nprobe=5)
        found, expected = (index.search(*given, deleted=deleted) for index in (loaded, whole))
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_a_row_that_is_no_numbers_is_in_no_list(words: Any, tmp_path: Path) -> None:
    base = words.base[:6000].copy()
    params = BuildParams(nlist=4)  # trained on a sample
    base[[17, 5000]] = np.nan
    sample = sampling.training_sample
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ivf, "training_sample", lambda vectors, *_: sample(np.nan_to_num(vectors[:]), 4, 100))
        prepared = prepare(IndexType.IVF_FLAT, MetricType.L2, base, params)
    save(prepared, tmp_path / "index")
    loaded: StorableIndex = load(tmp_path / "index", Shape(MetricType.L2, 6000, base.shape[1]))
    found = loaded.search(words.query[:2], 6000, SearchParams(nprobe=4))
    assert set(range(6000)) - set(found.ids[0].tolist()) == {17, 5000}


@pytest.mark.usefixtures("small_blocks")
def test_vectors_that_cannot_be_read_while_the_file_is_written_fail_it(words: Any, tmp_path: Path) -> None:
    vectors = Sliced(words.base)
    prepared = prepare(IndexType.IVF_FLAT, MetricType.L2, vectors, BuildParams(nlist=16))
    vectors.error_at = vectors.reads + 3
    with pytest.raises(SegmentDamaged, match="the vectors are cut"):
        save(prepared, tmp_path / "index")


def test_a_form_of_inverted_lists_that_is_not_known_is_not_written(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(IndexType.IVF_FLAT, MetricType.L2, words.base, BuildParams(nlist=16))
    monkeypatch.setattr(ivf_file, "_NO_LISTS", b"other")
    with pytest.raises(BuildFailed, match="not known here"):
        save(prepared, tmp_path / "index")


@pytest.mark.parametrize("kind", [IndexType.HNSW, IndexType.BIN_IVF_FLAT])
def test_the_other_types_are_built_whole(kind: IndexType, words: Any, fingerprints: Any, tmp_path: Path) -> None:
    metric = MetricType.HAMMING if kind is IndexType.BIN_IVF_FLAT else MetricType.L2
    base = (fingerprints if metric.is_binary else words).base[:500]
    save(prepare(kind, metric, base, BuildParams()), tmp_path / "index")
    dimension = base.shape[1] * (8 if metric.is_binary else 1)
    assert load(tmp_path / "index", Shape(metric, 500, dimension)).rows == 500
