from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from milvus_node.index import faiss_calls, huge_pages
from milvus_node.index.api import BuildParams
from milvus_node.index.engine import faiss
from milvus_node.index.factory import build
from mishards.kinds import IndexType, MetricType

PAGE = 8


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=12))
def test_pages_are_whole_in_order_apart_and_within_blocks_that_are_less_than_a_page_apart(
    blocks: list[tuple[int, int]],
) -> None:
    covered = {at for address, size in blocks for at in range(address, address + size)}
    pages = huge_pages.whole_pages(blocks, PAGE)
    inside = [at for address, size in pages for at in range(address, address + size)]
    assert inside == sorted(set(inside))
    assert all(address % PAGE == size % PAGE == 0 < size for address, size in pages)
    for start in range(0, 240, PAGE):
        page = range(start, start + PAGE)
        if covered.issuperset(page):
            assert set(page) <= set(inside)
        if not covered.intersection(range(start - PAGE, start + 2 * PAGE)):
            assert not set(page) & set(inside)


def test_what_is_gathered_stays_what_it_was() -> None:
    values = np.arange(3 * huge_pages.PAGE // 4, dtype=np.float32)
    before = values.copy()
    done = huge_pages.gather([(values.ctypes.data, values.nbytes)])
    assert done % huge_pages.PAGE == 0
    assert done <= values.nbytes
    assert (values == before).all()


@pytest.mark.parametrize("setting", ["always madvise [never]", None], ids=["off", "unknown"])
def test_nothing_is_done_where_huge_pages_are_off(
    setting: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "enabled"
    if setting is not None:
        path.write_text(setting)
    monkeypatch.setattr(huge_pages, "_SETTING", path)
    monkeypatch.setattr(huge_pages, "_advise", huge_pages._advise.__wrapped__)
    values = np.zeros(2 * huge_pages.PAGE, np.uint8)
    assert huge_pages.gather([(values.ctypes.data, values.nbytes)]) == 0


@pytest.mark.parametrize(
    ("kind", "row_bytes"),
    [(IndexType.IVF_FLAT, 4 * 8 + 8), (IndexType.IVF_SQ8, 16 + 8), (IndexType.HNSW, 4 * 8), (IndexType.RNSG, 4 * 8)],
)
def test_the_memory_of_an_index_holds_all_rows(kind: IndexType, row_bytes: int) -> None:
    rows = np.random.default_rng(1).normal(size=(500, 8)).astype(np.float32)
    index = build(kind, MetricType.L2, rows, BuildParams(nlist=4))
    blocks = list(faiss_calls.memory_of(index._index))
    links = 4 * int(index._index.hnsw.neighbors.size()) if kind is IndexType.HNSW else 0
    assert sum(size for _, size in blocks) == 500 * row_bytes + links
    assert all(address > 0 for address, _ in blocks)


def test_an_index_that_is_neither_lists_nor_a_graph_is_left_as_it_is() -> None:
    assert list(faiss_calls.memory_of(faiss().IndexFlatL2(8))) == []
