from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from milvus_node.index.api import BuildParams, SearchParams
from milvus_node.index.factory import build
from milvus_node.index.file import save
from milvus_node.search.cache import SegmentCache
from milvus_node.search.searcher import Query, Searcher, joined
from milvus_node.search.segment import load_segment
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.records import FileRecord, FileType, TableRecord
from mishards.catalog.snapshot import Collection, Segment
from mishards.kinds import IndexType, MetricType
from mishards.topk import NO_ID

DIMENSION, ROWS = 16, 600
KINDS = [(kind, segments, True) for kind in ("FLAT", "IVF_FLAT", "IVF_PQ", "HNSW") for segments in (1, 2)]
KINDS += [(kind, segments, False) for kind in ("FLAT", "IVF_SQ8", "IVF_PQ") for segments in (1, 2)] + [
    ("HNSW", 2, False)
]
"""Index, segments, and whether distances are whole numbers; where they are not, products and sums round differently."""


class Shelf:
    """Two segments of clustered rows, some deleted, under one kind of index; ids fall as rows rise."""

    def __init__(
        self, folder: Path, kind: IndexType, metric: MetricType, segments: int, *, on_grid: bool = True
    ) -> None:
        """``on_grid``: components are small whole numbers, so that many distances are equal."""
        self._on_grid = on_grid
        layout = StorageLayout(folder)
        row = TableRecord(1, "words", 0, DIMENSION, 1, 0, 1 << 30, kind, "{}", metric, "", "", "1.0.0", 0)
        self.collection = Collection(row, ())
        self.random = np.random.default_rng(5)
        self.segments = []
        for number in range(1, segments + 1):
            name, vectors = str(number), self.vectors(ROWS)
            at = layout.segment("words", name)
            at.write_raw(np.arange(ROWS, 0, -1) + 1000 * number, vectors, bloom_filter=False)
            at.write_deleted(np.arange(0, ROWS, 7))
            file_id, file_type = name, FileType.RAW
            if kind is not IndexType.FLAT:
                index: Any = build(kind, metric, vectors, BuildParams(nlist=16, m=4))
                file_id, file_type = f"9{name}", FileType.INDEX
                at.write_file(file_id, partial(save, index))
            file = FileRecord(number, "words", name, 1, file_id, file_type, 1, ROWS, 1, 1, -1, 0)
            self.segments.append(Segment(name, "words", file, None))
        self.searcher = Searcher(SegmentCache(lambda c, s: load_segment(layout, c, s), 1 << 30))

    def vectors(self, rows: int) -> Any:
        """Rows that fit the shelf."""
        if self._on_grid:
            return self.random.integers(-2, 3, (rows, DIMENSION)).astype(np.float32)
        return self.random.normal(size=(rows, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    kind, segments, on_grid = request.param
    return Shelf(tmp_path_factory.mktemp("shelf"), IndexType[kind], MetricType.L2, segments, on_grid=on_grid)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 1000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_searches_done_together_answer_what_each_alone_would(
    shelf: Shelf, sizes: list[int], topk: int, seed: int
) -> None:
    shelf.random = np.random.default_rng(seed)
    queries = [Query(shelf.vectors(size), topk, MetricType.L2, SearchParams(nprobe=4)) for size in sizes]
    all_of_them = joined(queries[0], [(query.vectors, query.deadline) for query in queries])
    together = shelf.searcher.search(shelf.collection, shelf.segments, all_of_them)
    assert together is not None
    assert len(together.ids) == sum(sizes)
    for query, end in zip(queries, np.cumsum(sizes).tolist(), strict=True):
        alone = shelf.searcher.search(shelf.collection, shelf.segments, query)
        assert alone is not None
        mine = slice(end - len(query.vectors), end)
        assert together.ids[mine].tolist() == alone.ids.tolist()
        assert together.distances[mine].tolist() == alone.distances.tolist()


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP])
def test_one_segment_alone_orders_equal_distances_by_id(tmp_path: Path, metric: MetricType) -> None:
    shelf = Shelf(tmp_path, IndexType.FLAT, metric, 1)
    query = Query(shelf.vectors(20), 50, metric, SearchParams())
    found = shelf.searcher.search(shelf.collection, shelf.segments, query)
    assert found is not None
    sign = -1 if metric.larger_is_nearer else 1
    for ids, distances in zip(found.ids.tolist(), (sign * found.distances).tolist(), strict=True):
        assert NO_ID not in ids
        assert len(set(distances)) < len(distances)
        hits = list(zip(distances, ids, strict=True))
        assert hits == sorted(hits)


def test_searches_over_no_segment_have_no_answer(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, IndexType.FLAT, MetricType.L2, 0)
    query = Query(shelf.vectors(1), 3, MetricType.L2, SearchParams())
    assert shelf.searcher.search(shelf.collection, [], query) is None
