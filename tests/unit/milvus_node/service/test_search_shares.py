from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from harness.node_rpc import search_param
from milvus_node.catalog import NodeCatalog
from milvus_node.search.cache import SegmentCache
from milvus_node.search.searcher import Searcher
from milvus_node.service.jobs import Share
from milvus_node.service.searches import SearchCalls
from mishards.catalog.records import TableRecord
from mishards.catalog.snapshot import Collection, Snapshot
from mishards.deadline import Deadline
from mishards.kinds import IndexType, MetricType
from mishards.transport.api import Call

ROWS = np.zeros((3, 4), np.float32)
NPROBE = '{"nprobe": 4}'


@dataclass
class Catalog:
    """Says what it is told."""

    snapshot: Snapshot
    is_writer: bool = True

    def now(self) -> Snapshot:
        return self.snapshot


def snapshot(kind: IndexType) -> Snapshot:
    tables = [TableRecord(1, name, 0, 4, 1, 0, 1 << 30, kind, "{}", MetricType.L2, "", "", "1.0.0", 0) for name in "ab"]
    return Snapshot(1, 0.0, {table.table_id: Collection(table, ()) for table in tables})


class Shares:
    """The shares that searches of a collection leave."""

    def __init__(self, kind: IndexType) -> None:
        self.catalog = Catalog(snapshot(kind))
        cache = SegmentCache(_nothing_to_load, 1 << 20)
        self._calls = SearchCalls(cast("NodeCatalog", self.catalog), Searcher(cache), cache)

    def of(self, name: str = "a", topk: int = 3, json: str = NPROBE) -> Share[bytes]:
        request = search_param(ROWS, topk, name=name, json=json).SerializeToString()
        return self._calls.search(Call("Search", request, (), Deadline.never()))


def _nothing_to_load(*_: object) -> Any:
    raise AssertionError("there is no segment")


@pytest.mark.parametrize("kind", [IndexType.IVF_FLAT, IndexType.IVF_PQ])
def test_searches_that_differ_in_their_vectors_alone_are_done_together(kind: IndexType) -> None:
    shares = Shares(kind)
    assert shares.of().key == shares.of().key
    assert shares.of().rows == len(ROWS)


@pytest.mark.parametrize("other", [{"name": "b"}, {"topk": 4}, {"json": '{"nprobe": 5}'}], ids=str)
def test_searches_that_differ_in_more_are_not(other: dict[str, Any]) -> None:
    shares = Shares(IndexType.IVF_FLAT)
    assert shares.of().key != shares.of(**other).key


def test_searches_by_another_metric_are_not_done_together() -> None:
    shares = Shares(IndexType.FLAT)
    assert shares.of(json="{}").key != shares.of(json='{"metric_type": 2}').key


def test_searches_on_different_states_of_the_catalog_are_not_done_together() -> None:
    shares = Shares(IndexType.FLAT)
    before = shares.of()
    shares.catalog.snapshot = snapshot(IndexType.FLAT)
    assert before.key != shares.of().key
