from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from milvus_node.errors import SegmentDamaged, SegmentMissing
from milvus_node.index.api import BuildParams, SearchParams
from milvus_node.index.factory import build
from milvus_node.index.file import save
from milvus_node.search.cache import SegmentCache
from milvus_node.search.searcher import Query, Searcher, joined
from milvus_node.search.segment import LoadedSegment, load_segment, read_tombstones
from milvus_node.storage.layout import StorageLayout
from mishards.catalog.records import FileRecord, FileType, TableRecord
from mishards.catalog.snapshot import Collection, Segment
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded
from mishards.kinds import IndexType, MetricType
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK

DIMENSION = 8


def collection(metric: MetricType = MetricType.L2) -> Collection:
    row = TableRecord(1, "words", 0, DIMENSION, 1, 0, 1 << 30, 1, "{}", metric, "", "", "1.0.0", 0)
    return Collection(row, ())


class Shelf:
    """Segments on disk, and the searcher over them."""

    def __init__(self, folder: Path, metric: MetricType = MetricType.L2) -> None:
        self.layout = StorageLayout(folder)
        self.collection = collection(metric)
        self.segments: list[Segment] = []
        self.rows: list[tuple[NDArray[np.int64], Any, NDArray[np.bool_]]] = []
        self.cache = SegmentCache(lambda c, s: load_segment(self.layout, c, s), 1 << 30)
        self.searcher = Searcher(self.cache)

    def add(self, ids: Any, vectors: Any, deleted: Any = ()) -> Segment:
        name = str(len(self.segments) + 1)
        folder = self.layout.segment("words", name)
        ids, mask = np.asarray(ids, np.int64), np.zeros(len(ids), np.bool_)
        mask[list(deleted)] = True
        folder.write_raw(ids, vectors, bloom_filter=False)
        folder.write_deleted(np.flatnonzero(mask))
        self.rows.append((ids, vectors, mask))
        self.segments.append(_segment(name, name, FileType.RAW, 1, rows=int((~mask).sum())))
        return self.segments[-1]

    def search(self, queries: Any, topk: int, metric: MetricType | None = None) -> TopK | None:
        query = Query(queries, topk, metric or self.collection.metric, SearchParams())
        return self.searcher.search(self.collection, self.segments, query)


def _segment(name: str, file_id: str, kind: FileType, version: int, rows: int = 1) -> Segment:
    return Segment(name, "words", FileRecord(1, "words", name, 1, file_id, kind, 1, rows, version, 1, -1, 0), None)


def floats(rows: int, seed: int = 0) -> NDArray[np.float32]:
    # Small whole numbers: distances are exact, and ties are frequent.
    return np.random.default_rng(seed).integers(-2, 3, (rows, DIMENSION)).astype(np.float32)


def test_no_segment_gives_no_answer_at_all(tmp_path: Path) -> None:
    assert Shelf(tmp_path).search(floats(3), 10) is None


@pytest.mark.parametrize(
    ("segments", "topk", "width"),
    [
        ([3], 10, 4),  # one placeholder behind fewer rows than asked for
        ([3, 4], 10, 8),
        ([10], 10, 10),
        ([9], 10, 10),
        ([30, 30], 10, 10),
        ([0, 5], 10, 6),
    ],
)
def test_an_answer_is_as_wide_as_the_protocol_says(tmp_path: Path, segments: list[int], topk: int, width: int) -> None:
    shelf = Shelf(tmp_path)
    for number, rows in enumerate(segments):
        shelf.add(range(100 * number, 100 * number + rows), floats(rows, number))
    found = shelf.search(floats(2, 9), topk)
    assert found is not None
    assert found.ids.shape == found.distances.shape == (2, width)
    hits = min(sum(segments), topk)
    assert (found.ids[:, :hits] != NO_ID).all()
    assert (found.ids[:, hits:] == NO_ID).all()
    assert (found.distances[:, hits:] == EMPTY_DISTANCE).all()


def test_segments_whose_rows_are_all_deleted_give_one_empty_column(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1, 2], floats(2), deleted=[0, 1])
    shelf.add([3], floats(1), deleted=[0])
    for counted in (True, False):
        if not counted:  # the catalog is behind the tombstones
            shelf.segments = [_segment(each.segment_id, each.segment_id, FileType.RAW, 1) for each in shelf.segments]
        found = shelf.search(floats(2, 9), 10)
        assert found is not None
        assert found.ids.tolist() == [[NO_ID], [NO_ID]]
        assert found.distances.tolist() == [[EMPTY_DISTANCE], [EMPTY_DISTANCE]]


def test_a_segment_without_live_rows_is_not_even_loaded(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1], floats(1))
    shelf.segments.append(_segment("404", "404", FileType.RAW, 1, rows=0))
    found = shelf.search(floats(1), 1)
    assert found is not None
    assert found.ids.tolist() == [[1]]
    assert shelf.cache.usage.loads == 1


def _naive(shelf: Shelf, query: Any, topk: int, metric: MetricType) -> list[tuple[float, int]]:
    """Of equal distances within a segment the earlier row wins, and then the lower id."""
    hits = []
    for ids, vectors, deleted in shelf.rows:
        rows = []
        for row, (id, vector, dead) in enumerate(zip(ids.tolist(), vectors, deleted, strict=True)):
            if not dead:
                near = -float(query @ vector) if metric is MetricType.IP else float(((query - vector) ** 2).sum())
                rows.append((near, row, id))
        hits += [(near, id) for near, _, id in sorted(rows)[:topk]]
    return sorted(hits)[:topk]


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    topk=st.integers(1, 30),
    metric=st.sampled_from([MetricType.L2, MetricType.IP]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_search_over_segments_is_the_search_over_all_their_live_rows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], topk: int, metric: MetricType, seed: int
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"), metric)
    random = np.random.default_rng(seed)
    for number, rows in enumerate(sizes):
        ids = random.integers(0, 20, rows)  # some twice: each is a row of its own
        shelf.add(ids, floats(rows, seed + number), np.flatnonzero(random.random(rows) < 0.3))
    queries = floats(3, seed + 99)
    found = shelf.search(queries, topk)
    assert found is not None
    sign = -1 if metric is MetricType.IP else 1
    for row, query in enumerate(queries):
        hits = [(sign * float(d), int(i)) for i, d in zip(found.ids[row], found.distances[row], strict=True) if i >= 0]
        assert hits == _naive(shelf, query, topk, metric)


def test_a_metric_that_overrides_the_collections_decides_the_order(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    vectors = np.array([[1] * DIMENSION, [3] * DIMENSION], np.float32)
    shelf.add([1, 3], vectors)
    nearest, farthest = shelf.search(vectors[:1], 1), shelf.search(vectors[:1], 1, MetricType.IP)
    assert nearest is not None
    assert farthest is not None
    assert (nearest.ids.tolist(), farthest.ids.tolist()) == ([[1]], [[3]])
    assert farthest.distances.tolist() == [[3.0 * DIMENSION]]


def test_places_without_a_match_of_a_set_metric_are_infinitely_far_but_for_the_last_column(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MetricType.SUBSTRUCTURE)
    shelf.add([1, 2, 3], np.array([[0b111], [0b101], [0b010]], np.uint8))
    found = shelf.search(np.array([[0b101]], np.uint8), 5)
    assert found is not None
    assert found.ids.tolist() == [[1, 2, NO_ID, NO_ID]]
    assert found.distances.tolist() == [[0, 0, np.inf, EMPTY_DISTANCE]]


def test_a_missing_segment_fails_the_search_rather_than_shorten_its_answer(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1], floats(1))
    shelf.segments.append(_segment("404", "404", FileType.RAW, 1))
    with pytest.raises(SegmentMissing, match="404"):
        shelf.search(floats(1), 1)


# --- tombstones ------------------------------------------------------------------------------------------------------


def test_tombstones_are_read_again_when_the_version_moves_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1, 2, 3], np.zeros((3, DIMENSION), np.float32))
    reads: list[int] = []

    def counted(folder: Any, ids: Any, version: int) -> Any:
        reads.append(version)
        return read_tombstones(folder, ids, version)

    monkeypatch.setattr("milvus_node.search.segment.read_tombstones", counted)

    def ids() -> list[int]:
        found = shelf.search(np.zeros((1, DIMENSION), np.float32), 3)
        assert found is not None
        return [i for i in found.ids[0].tolist() if i != NO_ID]

    assert ids() == [1, 2, 3]
    shelf.layout.segment("words", "1").write_deleted(np.array([1]))
    assert ids() == [1, 2, 3]
    shelf.segments[0] = _segment("1", "1", FileType.RAW, 2)
    assert ids() == [1, 3]
    assert ids() == [1, 3]
    shelf.segments[0] = _segment("1", "1", FileType.RAW, 1)  # a caller behind the times
    assert ids() == [1, 3]
    assert reads == [1, 2]


def test_deletes_weigh_with_the_segment_and_nothing_else_does(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    plain, deleted = shelf.add([1, 2], floats(2)), shelf.add([1, 2], floats(2), deleted=[0])
    sizes = [load_segment(shelf.layout, shelf.collection, each).nbytes for each in (plain, deleted)]
    assert sizes[0] >= 2 * DIMENSION * 4 + 2 * 8
    assert sizes[1] == sizes[0] + 2


# --- index files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def indexed(tmp_path: Path) -> Shelf:
    """A segment of 500 rows with an IVF_FLAT index that looks into one of many lists."""
    shelf = Shelf(tmp_path)
    vectors = np.random.default_rng(1).random((500, DIMENSION), np.float32)
    shelf.add(range(1000, 1500), vectors)
    index: Any = build(IndexType.IVF_FLAT, MetricType.L2, vectors, BuildParams(nlist=10))
    shelf.layout.segment("words", "1").write_file("77", lambda path: save(index, path))
    shelf.segments[0] = _segment("1", "77", FileType.INDEX, 1)
    return shelf


def kind(shelf: Shelf) -> IndexType:
    with shelf.cache.hold(shelf.collection, shelf.segments[0]) as loaded:
        return loaded.index.index_type


def test_an_index_file_is_searched_and_gives_the_ids_of_the_rows(indexed: Shelf) -> None:
    assert kind(indexed) is IndexType.IVF_FLAT
    found = indexed.search(indexed.rows[0][1][:5], 1)
    assert found is not None
    assert found.ids[:, 0].tolist() == [1000, 1001, 1002, 1003, 1004]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "foreign"])
def test_an_index_file_that_cannot_be_read_is_passed_over_and_the_raw_file_serves(
    indexed: Shelf, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = indexed.layout.segment("words", "1").path_of("77")
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        path.with_name("77.sum").unlink()  # no sum: a Milvus server made it
        path.write_bytes(b"\x02\x00\x00\x00nothing that we know")
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data[:100] if damage == "cut" else data)
    assert kind(indexed) is IndexType.FLAT
    assert "the raw vectors serve instead" in caplog.text


def test_a_damaged_raw_file_is_named_and_never_served(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1, 2], floats(2))
    path = tmp_path / "db" / "tables" / "words" / "1" / "1.rv"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(SegmentDamaged, match=r"1\.rv"):
        shelf.search(floats(1), 1)


def test_a_search_whose_deadline_passed_loads_and_searches_nothing_more(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(3):
        shelf.add([number], floats(1))
    deadline = Deadline.after(30)
    loaded: list[str] = []

    def load(collection: Collection, segment: Segment) -> LoadedSegment:
        loaded.append(segment.segment_id)
        if len(loaded) == 2:
            object.__setattr__(deadline, "at", 0.0)  # the deadline passes while the second segment is loaded
        return load_segment(shelf.layout, collection, segment)

    query = Query(floats(1), 1, MetricType.L2, SearchParams(), deadline)
    with pytest.raises(DeadlineExceeded, match="before the search of segment 3 of words"):
        Searcher(SegmentCache(load, 1 << 30)).search(shelf.collection, shelf.segments, query)
    assert loaded == ["1", "2"]


def test_searches_done_together_go_on_until_the_last_of_their_deadlines(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add([1, 2, 3], floats(3))
    query = Query(floats(1), 2, MetricType.L2, SearchParams())
    late, early = Deadline.after(60), Deadline(0.0)
    both = shelf.searcher.search(
        shelf.collection, shelf.segments, joined(query, [(query.vectors, early), (query.vectors, late)])
    )
    assert both is not None
    assert both.ids.shape == (2, 2)
    with pytest.raises(DeadlineExceeded):
        shelf.searcher.search(shelf.collection, shelf.segments, joined(query, [(query.vectors, early)] * 2))
