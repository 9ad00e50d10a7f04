from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from harness.waiting import eventually
from harness.write_path import WAIT_S, WritePath
from milvus_node.errors import SegmentDamaged, StorageError
from milvus_node.ingest.maintenance import Maintenance, MaintenanceOptions
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.records import FileType
from mishards.deadline import Deadline
from mishards.errors import BuildFailed, MishardsError
from mishards.kinds import IndexType, MetricType

NOW = MaintenanceOptions(file_cleanup_timeout_s=0)
FAST = MaintenanceOptions(0.01, 0.01, 0.01, file_cleanup_timeout_s=1)

Maintain = Callable[..., Maintenance]


@pytest.fixture
def maintenance(node: WritePath) -> Iterator[Maintain]:
    """Make the background work of the node; its loops are stopped after the test, if they were started."""
    made: list[Maintenance] = []

    def make(options: MaintenanceOptions = NOW) -> Maintenance:
        made.append(Maintenance(node.parts, node.flusher, node.collections, node.builder, options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def segment(node: WritePath, ids: list[int], name: str = "words") -> None:
    node.insert_into(node.collection(name), ids)
    node.flush(name)


def test_a_merge_reaches_every_collection_and_partition(node: WritePath, maintenance: Maintain) -> None:
    node.create()
    node.create("other")
    node.collections.create_partition(node.collection(), "p")
    for ids in ([1], [2], [3]):
        segment(node, ids)
        segment(node, ids, "other")
        node.insert(ids, tag="p")
        node.flush()
    maintenance().merge()
    assert [len(partition.segments) for partition in node.collection().partitions] == [1, 1]
    assert len(node.collection("other").segments) == 1
    assert node.ids() == [1, 1, 2, 2, 3, 3]


def test_a_collection_that_cannot_be_merged_keeps_no_other_back(
    node: WritePath, maintenance: Maintain, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        node.create(name)
        segment(node, [1], name)
        segment(node, [2], name)
    read_ids = SegmentFolder.read_ids

    def damaged_in_a(folder: SegmentFolder) -> Any:
        if folder.path.parent.name == "a":
            raise SegmentDamaged(f"{folder.path} is damaged")
        return read_ids(folder)

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, "read_ids", damaged_in_a)
        with pytest.raises(SegmentDamaged):
            maintenance().merge()
    assert [len(node.collection(name).segments) for name in ("a", "b", "c")] == [2, 1, 1]


def test_a_collection_whose_definition_changes_is_left_alone(node: WritePath, maintenance: Maintain) -> None:
    node.create()
    segment(node, [1])
    segment(node, [2])
    busy, done = threading.Event(), threading.Event()

    def change() -> None:
        with node.parts.locks.definition("words"):
            busy.set()
            done.wait(WAIT_S)

    changing = threading.Thread(target=change)
    changing.start()
    busy.wait(WAIT_S)
    work = maintenance()
    work.merge()
    work.build()
    assert len(node.collection().segments) == 2
    done.set()
    changing.join(WAIT_S)
    work.merge()
    assert len(node.collection().segments) == 1


def test_new_rows_of_an_indexed_collection_are_indexed_once_they_are_many(
    node: WritePath, maintenance: Maintain
) -> None:
    node.create(index_file_size=4096 * 24)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, '{"nlist":16}')
    work = maintenance()
    segment(node, list(range(2000)))
    work.merge()
    work.build()
    assert [FileType(s.file.file_type) for s in node.collection().segments] == [FileType.RAW]
    segment(node, list(range(2000, 4096)))
    work.merge()
    work.build()
    assert [FileType(s.file.file_type) for s in node.collection().segments] == [FileType.INDEX]


def test_an_index_that_cannot_be_built_is_not_tried_again_and_again(
    node: WritePath, maintenance: Maintain, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.collections.create("bits", 8, 4096, MetricType.SUBSTRUCTURE)
    collection = node.collection("bits")
    node.collections.create_index(collection, IndexType.IVF_FLAT, '{"nlist":16}')
    node.rows.insert(collection, "", np.arange(4096), np.zeros((4096, 1), np.uint8), Deadline.after(WAIT_S))
    node.flush("bits")
    build, builds = node.builder.build, 0

    def counted(*args: Any) -> bool:
        nonlocal builds
        builds += 1
        return build(*args)

    monkeypatch.setattr(node.builder, "build", counted)
    work = maintenance()
    with pytest.raises(BuildFailed):
        work.build()
    work.build()
    assert builds == 1
    with pytest.raises(BuildFailed):
        node.collections.create_index(collection, IndexType.IVF_FLAT, '{"nlist":16}')
    assert builds == 2


# --- clean-up --------------------------------------------------------------------------------------------------------


def retired(node: WritePath) -> int:
    return len(node.parts.files.retired(0))


def test_superseded_segments_stay_for_the_delay_and_then_go_with_their_rows(
    node: WritePath, maintenance: Maintain
) -> None:
    node.create()
    segment(node, [1])
    segment(node, [2])
    node.rewriter.merge("words", node.collection().segments)
    maintenance(MaintenanceOptions(file_cleanup_timeout_s=3600)).clean_up()
    assert (len(node.folders()), retired(node)) == (3, 2)
    maintenance().clean_up()
    assert (len(node.folders()), retired(node)) == (1, 0)
    assert node.ids() == [1, 2]


def test_a_superseded_index_file_goes_and_its_segment_stays(node: WritePath, maintenance: Maintain) -> None:
    node.create()
    segment(node, list(range(4096)))
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, '{"nlist":16}')
    (indexed,) = node.collection().segments
    folder = node.parts.layout.segment(indexed.table_id, indexed.segment_id)
    node.collections.drop_index(node.collection())
    assert folder.path_of(indexed.file.file_id).exists()
    maintenance().clean_up()
    assert not folder.path_of(indexed.file.file_id).exists()
    assert retired(node) == 0
    assert node.ids() == list(range(4096))


def test_a_dropped_collection_leaves_nothing(node: WritePath, maintenance: Maintain) -> None:
    node.create()
    segment(node, [1])
    node.collections.drop(node.collection())
    node.create()
    segment(node, [2])
    maintenance().clean_up()
    assert retired(node) == 0
    assert node.ids() == [2]
    assert len(node.folders()) == 1


def test_a_row_outlives_a_file_that_cannot_be_removed_and_others_go(
    node: WritePath, maintenance: Maintain, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    for ids in ([1], [2], [3]):
        segment(node, ids)
    stubborn = node.collection().segments[0].segment_id
    node.rewriter.merge("words", node.collection().segments)
    remove = SegmentFolder.remove

    def refuse_one(folder: SegmentFolder) -> None:
        if folder.segment_id == stubborn:
            raise StorageError(f"{folder.path} is busy")
        remove(folder)

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, "remove", refuse_one)
        maintenance().clean_up()
    assert [file.segment_id for file in node.parts.files.retired(0)] == [stubborn]
    assert stubborn in node.folders()
    maintenance().clean_up()
    assert (len(node.folders()), retired(node)) == (1, 0)


def test_a_crash_between_file_and_row_is_cleaned_up_later(
    node: WritePath, maintenance: Maintain, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    segment(node, [1])
    node.collections.drop(node.collection())

    def die(*_: Any) -> None:
        raise MishardsError("gone")

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "forget", die)
        with pytest.raises(MishardsError):
            maintenance().clean_up()
    assert (node.folders(), retired(node)) == (set(), 1)
    maintenance().clean_up()
    assert retired(node) == 0


# --- the loops -------------------------------------------------------------------------------------------------------


def test_rows_become_visible_by_themselves_and_small_segments_become_one(
    node: WritePath, maintenance: Maintain
) -> None:
    node.create()
    maintenance(FAST).start()
    for number in range(5):
        node.insert([number])
        eventually(lambda number=number: number in node.ids(), WAIT_S, "the row is flushed")  # type: ignore[misc]
    eventually(lambda: len(node.collection().segments) == 1, WAIT_S, "the segments are merged")
    eventually(lambda: retired(node) == 0 and len(node.folders()) == 1, WAIT_S, "the old segments are removed")
    assert node.ids() == [0, 1, 2, 3, 4]


def test_with_no_interval_nothing_is_flushed_by_itself(node: WritePath, maintenance: Maintain) -> None:
    work = maintenance(MaintenanceOptions(auto_flush_interval_s=0))
    assert "auto-flush" not in {loop.name for loop in work.loops}


def test_the_loops_end_at_the_same_time_not_one_after_the_other(
    node: WritePath, maintenance: Maintain, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = maintenance(FAST)
    asked: list[tuple[str, float]] = []
    for loop in work.loops:
        monkeypatch.setattr(loop, "stop", lambda wait_s=10.0, loop=loop: asked.append((loop.name, wait_s)))
    work.stop()
    first = asked[: len(work.loops)]
    assert {name for name, _ in first} == {loop.name for loop in work.loops}
    assert {wait_s for _, wait_s in first} == {0.0}
    assert all(wait_s > 0 for _, wait_s in asked[len(work.loops) :])
    monkeypatch.undo()
