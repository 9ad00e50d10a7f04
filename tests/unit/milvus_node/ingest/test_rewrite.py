from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.write_path import OpenWritePath, WritePath
from milvus_node.ingest import rewrite as rewrite_module
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.records import FileType
from mishards.errors import CatalogConflict, CatalogUnavailable
from mishards.kinds import IndexType

AWAY = CatalogUnavailable("the database is away")


def two_segments(node: WritePath) -> None:
    node.create()
    node.insert(list(range(10)), 1.0)
    node.flush()
    node.insert(list(range(10, 20)), 2.0)
    node.flush()


def merge(node: WritePath) -> bool:
    return node.rewriter.merge("words", node.collection().segments)


def compact(node: WritePath) -> None:
    node.rewriter.compact("words")


def interrupt(monkeypatch: pytest.MonkeyPatch, node: WritePath, what: Callable[[], None]) -> None:
    """Do ``what`` once the new segment is on disk, before it is committed."""
    write = rewrite_module._write

    def write_and_then(*args: Any) -> None:
        write(*args)
        what()

    monkeypatch.setattr(rewrite_module, "_write", write_and_then)


def test_a_merge_puts_one_segment_in_the_place_of_many(node: WritePath) -> None:
    two_segments(node)
    before = node.visible()
    assert merge(node)
    (segment,) = node.collection().segments
    assert node.visible() == before
    assert (segment.rows, segment.file.file_size) == (20, 20 * (4 * 4 + 8))
    assert node.parts.layout.segment("words", segment.segment_id).read_ids().tolist() == list(range(20))


def test_a_merge_leaves_deleted_rows_behind(node: WritePath) -> None:
    two_segments(node)
    node.delete([0, 5, 19])
    node.flush()
    assert merge(node)
    (segment,) = node.collection().segments
    assert segment.rows == 17
    assert node.parts.layout.segment("words", segment.segment_id).row_count() == 17


def test_rows_deleted_while_a_merge_writes_are_deleted_in_its_result(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_segments(node)
    node.delete([3])
    node.flush()

    def delete_some() -> None:
        node.delete([0, 3, 7, 12])
        node.flush()

    interrupt(monkeypatch, node, delete_some)
    assert merge(node)
    assert node.ids() == [i for i in range(20) if i not in (0, 3, 7, 12)]
    (segment,) = node.collection().segments
    assert segment.rows == 16


def test_a_merge_whose_every_row_is_deleted_meanwhile_leaves_nothing(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_segments(node)
    before = node.folders()

    def delete_all() -> None:
        node.delete(list(range(20)))
        node.flush()

    interrupt(monkeypatch, node, delete_all)
    assert merge(node)
    assert node.collection().segments == ()
    assert node.folders() == before


def test_rows_flushed_while_a_merge_writes_stay_beside_it(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    two_segments(node)

    def insert_more() -> None:
        node.insert([20])
        node.flush()

    interrupt(monkeypatch, node, insert_more)
    assert merge(node)
    assert node.ids() == list(range(21))
    assert len(node.collection().segments) == 2


def test_a_merge_of_a_collection_that_is_dropped_meanwhile_leaves_no_trace(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_segments(node)
    before = node.folders()
    interrupt(monkeypatch, node, lambda: node.collections.drop(node.collection()))
    assert not merge(node)
    assert node.folders() == before


def test_a_merge_gives_way_to_another_that_was_faster(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    two_segments(node)
    with monkeypatch.context() as once:
        segments = node.collection().segments

        def merge_first() -> None:
            once.undo()
            assert node.rewriter.merge("words", segments)

        interrupt(once, node, merge_first)
        assert not node.rewriter.merge("words", segments)
    assert node.ids() == list(range(20))
    assert len(node.folders()) == 3  # two retired ones and the result


def test_a_merge_whose_answer_was_lost_keeps_its_segment(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    two_segments(node)
    replace = node.parts.files.replace

    def commit_and_fail(*args: Any) -> None:
        replace(*args)
        raise AWAY

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "replace", commit_and_fail)
        with pytest.raises(CatalogUnavailable):
            merge(node)
    assert node.ids() == list(range(20))
    assert len(node.collection().segments) == 1


def test_a_merge_after_which_the_catalog_cannot_be_read_keeps_its_segment(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_segments(node)
    replace, refreshed = node.parts.files.replace, node.catalog.refreshed
    segments = node.collection().segments

    def refuse() -> Any:
        raise AWAY

    def commit_before_the_database_goes(*args: Any) -> None:
        replace(*args)
        monkeypatch.setattr(node.catalog, "refreshed", refuse)

    monkeypatch.setattr(node.parts.files, "replace", commit_before_the_database_goes)
    with pytest.raises(CatalogUnavailable):
        node.rewriter.merge("words", segments)
    monkeypatch.setattr(node.catalog, "refreshed", refreshed)
    assert node.ids() == list(range(20))


def test_a_merge_that_the_catalog_refuses_leaves_no_trace(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    two_segments(node)
    before = node.folders()

    def conflict(*_: Any) -> None:
        raise CatalogConflict("changed")

    monkeypatch.setattr(node.parts.files, "replace", conflict)
    assert not merge(node)
    assert node.folders() == before
    assert node.ids() == list(range(20))


@pytest.mark.parametrize("target", ["write_raw_blocks", "read_ids", "stored_vectors"])
def test_a_merge_that_the_disk_fails_leaves_no_trace(
    node: WritePath, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    two_segments(node)
    before = node.folders()

    def broken(*_: Any, **__: Any) -> Any:
        raise AWAY

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, target, broken)
        with pytest.raises(CatalogUnavailable):
            merge(node)
    assert node.folders() == before
    assert node.ids() == list(range(20))


def test_a_crash_before_the_commit_of_a_merge_changes_nothing(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    two_segments(node)

    def die(*_: Any) -> None:
        raise AWAY

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "replace", die)
        with pytest.raises(CatalogUnavailable):
            merge(node)
    node = open_node()
    assert node.ids() == list(range(20))
    assert len(node.collection().segments) == 2


@pytest.mark.parametrize(("deleted", "rewritten"), [(0, False), (9, False), (10, True), (99, True)])
def test_compaction_rewrites_from_a_tenth_of_deleted_rows_on(node: WritePath, deleted: int, rewritten: bool) -> None:
    node.create()
    node.insert(list(range(100)))
    node.flush()
    (before,) = node.collection().segments
    node.delete(list(range(deleted)))
    node.flush()
    compact(node)
    (after,) = node.collection().segments
    assert (after.segment_id != before.segment_id) == rewritten
    assert node.ids() == list(range(deleted, 100))
    assert after.rows == 100 - deleted


def test_a_segment_compacted_to_nothing_disappears(node: WritePath) -> None:
    two_segments(node)
    node.delete(list(range(10)))
    node.flush()
    compact(node)
    assert len(node.collection().segments) == 1
    assert node.ids() == list(range(10, 20))


def test_compaction_passes_over_a_segment_that_was_merged_and_removed_before_its_turn(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_segments(node)
    node.delete([0, 1, 10, 11])
    node.flush()
    first, second = node.collection().segments
    with monkeypatch.context() as once:

        def remove_the_other() -> None:
            once.undo()
            assert node.rewriter.merge("words", [second])
            node.parts.layout.segment("words", second.segment_id).remove()

        interrupt(once, node, remove_the_other)
        compact(node)
    assert first.segment_id not in {segment.segment_id for segment in node.collection().segments}
    assert node.ids() == [*range(2, 10), *range(12, 20)]


def test_a_merge_of_segments_that_are_gone_already_does_nothing(node: WritePath) -> None:
    two_segments(node)
    before = node.collection().segments
    assert merge(node)
    for each in before:
        node.parts.layout.segment("words", each.segment_id).remove()
    assert not node.rewriter.merge("words", before)
    assert node.ids() == list(range(20))


def test_compaction_looks_at_flushed_deletes_only(node: WritePath) -> None:
    two_segments(node)
    before = {segment.segment_id for segment in node.collection().segments}
    node.delete(list(range(20)))
    compact(node)
    assert {segment.segment_id for segment in node.collection().segments} == before


def test_compaction_reaches_partitions(node: WritePath) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1, 2], tag="p")
    node.flush()
    node.delete([1])
    node.flush()
    (before,) = node.collection().segments
    compact(node)
    (after,) = node.collection().segments
    assert after.segment_id != before.segment_id
    assert after.table_id == before.table_id
    assert node.ids(tag="p") == [2]


def test_a_big_merge_waits_for_the_index_that_the_collection_has_when_it_ends(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create(index_file_size=100)
    for start in (0, 3):
        node.insert(list(range(start, start + 3)))
        node.flush()
    interrupt(
        monkeypatch, node, lambda: node.parts.definitions.set_index(["words"], IndexType.IVF_FLAT, '{"nlist":16}')
    )
    assert merge(node)
    (segment,) = node.collection().segments
    assert FileType(segment.file.file_type) is FileType.TO_INDEX
    assert segment.file.engine_type == IndexType.IVF_FLAT
