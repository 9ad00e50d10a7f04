from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from harness.waiting import eventually
from harness.write_path import WAIT_S, OpenWritePath, WritePath
from milvus_node.index import blocks
from milvus_node.ingest.collections import engine_type
from milvus_node.storage.segment_folder import SegmentFolder
from milvus_node.storage.stored_vectors import StoredVectors
from mishards.catalog.records import FileType
from mishards.catalog.snapshot import Segment
from mishards.deadline import Deadline
from mishards.errors import (
    BuildFailed,
    CatalogUnavailable,
    CollectionExists,
    CollectionNotFound,
    Overloaded,
    PartitionError,
)
from mishards.kinds import IndexType, MetricType

AWAY = CatalogUnavailable("the database is away")
NLIST = '{"nlist":16}'


def refuse(*_: Any, **__: Any) -> Any:
    raise AWAY


def types(node: WritePath) -> list[FileType]:
    return [FileType(segment.file.file_type) for segment in node.collection().segments]


# --- create and drop -------------------------------------------------------------------------------------------------


def test_a_name_can_be_taken_once(node: WritePath) -> None:
    node.create()
    node.insert([1])
    with pytest.raises(CollectionExists):
        node.create()
    node.flush()
    assert node.ids() == [1]


def test_a_dropped_collection_is_gone_with_its_partitions_and_unflushed_rows(node: WritePath) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1], tag="p")
    node.flush()
    node.insert([2])
    node.collections.drop(node.collection())
    with pytest.raises(CollectionNotFound):
        node.collection()
    node.flush()
    assert node.parts.buffer.pending() == []
    retired = node.parts.files.retired(0)
    assert [FileType(file.file_type) for file in retired] == [FileType.TO_DELETE]


def test_a_collection_made_in_the_place_of_a_dropped_one_is_empty_also_after_a_crash(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.insert([1, 2])
    node.delete([1])
    node.collections.drop(node.collection())
    node.create()
    node.insert([3])
    node = open_node()
    assert node.ids() == [3]


def test_rows_on_their_way_into_the_log_do_not_reach_the_collection_made_in_their_place(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    old = node.create(dimension=8)
    node.insert_into(old, [0])
    held, commit = threading.Event(), node.wal._commit

    def commit_later(group: Any) -> None:
        held.wait(WAIT_S)
        commit(group)

    monkeypatch.setattr(node.wal, "_commit", commit_later)
    vectors = np.zeros((1, 32), np.uint8)
    on_its_way = threading.Thread(
        target=lambda: node.rows.insert(old, "", np.array([1]), vectors, Deadline.after(WAIT_S))
    )
    on_its_way.start()
    eventually(lambda: node.wal._queued_bytes, WAIT_S, "the row is queued")
    # The catalog's answer to the drop is lost, so nobody could tidy up behind it.
    with monkeypatch.context() as failing:
        refreshed = iter([node.catalog.refreshed])
        failing.setattr(node.catalog, "refreshed", lambda: next(refreshed, refuse)())
        with pytest.raises(CatalogUnavailable):
            node.collections.drop(old)
    creating = threading.Thread(target=node.create)
    creating.start()
    held.set()
    for thread in (on_its_way, creating):
        thread.join(WAIT_S)
        assert not thread.is_alive()
    node.insert([5])
    node.flush()
    assert node.ids() == [5]
    assert open_node().ids() == [5]


def test_a_row_inserted_while_its_collection_is_dropped_and_made_anew_is_in_neither(node: WritePath) -> None:
    for _ in range(10):
        old = node.create()
        inserting = threading.Thread(target=lambda old=old: _insert_if_it_is_there(node, old))
        inserting.start()
        node.collections.drop(old)
        new = node.create()
        inserting.join(WAIT_S)
        node.flush()
        assert node.ids() == []
        node.collections.drop(new)


def _insert_if_it_is_there(node: WritePath, collection: Any) -> None:
    with suppress(CollectionNotFound):  # the drop was faster
        node.insert_into(collection, [1])


def test_a_log_that_does_not_come_to_an_end_keeps_a_collection_from_being_made(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milvus_node.ingest.collections._BARRIER_S", 0.0)
    held, commit = threading.Event(), node.wal._commit

    def commit_later(group: Any) -> None:
        held.wait(WAIT_S)
        commit(group)

    monkeypatch.setattr(node.wal, "_commit", commit_later)
    with pytest.raises(Overloaded, match="write-ahead log"):
        node.create()
    held.set()
    with pytest.raises(CollectionNotFound):
        node.collection()


# --- partitions ------------------------------------------------------------------------------------------------------


def test_a_tag_can_be_taken_once(node: WritePath) -> None:
    collection = node.create()
    node.collections.create_partition(collection, "p")
    with pytest.raises(PartitionError, match="Duplicate partition is not allowed"):
        node.collections.create_partition(collection, "p")
    assert node.collection().partition_tags == ("_default", "p")


def test_a_partition_inherits_the_index_and_is_indexed_with_its_collection(node: WritePath) -> None:
    node.create()
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    node.collections.create_partition(node.collection(), "p")
    partition = node.collection().partition("p")
    assert partition is not None
    assert (partition.table.engine_type, partition.table.index_params) == (IndexType.IVF_FLAT, NLIST)
    node.collections.drop_index(node.collection())
    partition = node.collection().partition("p")
    assert partition is not None
    assert (partition.table.engine_type, partition.table.index_params) == (IndexType.FLAT, "{}")


def test_the_rows_of_a_dropped_partition_vanish_flushed_or_not(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1], tag="p")
    node.flush()
    node.insert([2], tag="p")
    node.insert([3])
    partition = node.collection().partition("p")
    assert partition is not None
    node.collections.drop_partition(node.collection(), partition)
    node = open_node()
    assert node.ids() == [3]
    node.collections.create_partition(node.collection(), "p")
    assert node.ids(tag="p") == []


def test_a_flush_repeated_after_a_partition_was_dropped_shows_the_rest(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1], tag="p")
    node.insert([2])
    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "flush", refuse)
        with pytest.raises(CatalogUnavailable):
            node.flush()
    partition = node.collection().partition("p")
    assert partition is not None
    node.collections.drop_partition(node.collection(), partition)
    node.flush()
    assert node.ids() == [2]


# --- indexes ---------------------------------------------------------------------------------------------------------


def fill(node: WritePath, rows: int, *, tag: str = "", start: int = 0) -> None:
    collection = node.collection()
    vectors = np.random.default_rng(start).random((rows, 4), np.float32).view(np.uint8)
    ids = np.arange(start, start + rows)
    node.rows.insert(collection, tag, ids, vectors, Deadline.after(WAIT_S))


def test_create_index_flushes_merges_and_builds_every_segment_that_is_big_enough(node: WritePath) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    fill(node, 3000)
    node.flush()
    fill(node, 3000, start=3000)
    fill(node, 100, start=6000, tag="p")
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    large, small = node.collection().segments
    assert (large.rows, FileType(large.file.file_type)) == (6000, FileType.INDEX)
    assert large.raw is not None
    assert FileType(large.raw.file_type) is FileType.BACKUP
    assert (small.rows, FileType(small.file.file_type)) == (100, FileType.RAW)
    assert node.collection().index_params == NLIST


def test_merges_and_builds_never_read_all_vectors_of_a_segment_at_once(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 1000)
    monkeypatch.setattr(SegmentFolder, "read_vectors", refuse)
    sizes: list[int] = []
    read = StoredVectors.__getitem__

    def counted(vectors: StoredVectors[Any], rows: slice) -> Any:
        block = read(vectors, rows)
        sizes.append(len(block))
        return block

    monkeypatch.setattr(StoredVectors, "__getitem__", counted)
    node.create()
    for start in (0, 3000):
        node.insert(range(start, start + 3000))
        node.flush()
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    assert types(node) == [FileType.INDEX]
    assert set(sizes) == {1000}


def test_the_same_index_again_builds_nothing(node: WritePath) -> None:
    node.create()
    fill(node, 4096)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    before = node.collection().segments
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    assert node.collection().segments == before
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, '{"nlist":17}')
    assert node.collection().segments != before
    assert types(node) == [FileType.INDEX]


def test_drop_index_goes_back_to_raw_files(node: WritePath) -> None:
    node.create()
    fill(node, 4096)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    node.collections.drop_index(node.collection())
    assert types(node) == [FileType.RAW]
    assert (node.collection().index_type, node.collection().index_params) == (IndexType.FLAT, "{}")
    assert len(node.ids()) == 4096


def test_a_build_that_fails_is_reported_and_leaves_the_definition_and_the_raw_file(node: WritePath) -> None:
    node.collections.create("bits", 8, 1 << 30, MetricType.SUBSTRUCTURE)
    collection = node.collection("bits")
    node.rows.insert(collection, "", np.arange(4096), np.zeros((4096, 1), np.uint8), Deadline.after(WAIT_S))
    with pytest.raises(BuildFailed, match="Illegal index params"):
        node.collections.create_index(collection, IndexType.IVF_FLAT, NLIST)
    assert node.collection("bits").index_type is IndexType.BIN_IVF_FLAT
    (segment,) = node.collection("bits").segments
    assert FileType(segment.file.file_type) is FileType.TO_INDEX


def test_rows_deleted_while_an_index_is_built_count_in_its_row(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    fill(node, 4096)
    switch = node.builder._switch

    def delete_first(*args: Any) -> bool:
        node.delete([0, 1, 2])
        node.flush()
        return switch(*args)

    monkeypatch.setattr(node.builder, "_switch", delete_first)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    (segment,) = node.collection().segments
    assert (FileType(segment.file.file_type), segment.rows) == (FileType.INDEX, 4093)


def test_an_index_whose_definition_changed_while_it_was_built_is_thrown_away(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    fill(node, 4096)
    switch = node.builder._switch

    def redefine_first(*args: Any) -> bool:
        node.collections._redefine(node.collection(), IndexType.FLAT, "{}")
        return switch(*args)

    monkeypatch.setattr(node.builder, "_switch", redefine_first)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    (segment,) = node.collection().segments
    assert FileType(segment.file.file_type) is FileType.RAW
    assert not _index_files(node, segment)


def test_an_index_whose_switch_got_no_answer_keeps_its_file(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    fill(node, 4096)
    index_built = node.parts.files.index_built

    def commit_and_fail(*args: Any) -> None:
        index_built(*args)
        raise AWAY

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "index_built", commit_and_fail)
        with pytest.raises(BuildFailed, match="the database is away"):
            node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    (segment,) = node.collection().segments
    assert _index_files(node, segment) == {segment.file.file_id}


def test_a_segment_that_is_gone_before_its_build_begins_is_passed_over(node: WritePath) -> None:
    node.create(index_file_size=100)
    node.collections.create_index(node.collection(), IndexType.IVF_FLAT, NLIST)
    fill(node, 100)
    node.flush()
    (waiting,) = node.builder.waiting("words")
    node.delete(list(range(50)))
    node.flush()
    node.rewriter.compact("words")
    node.parts.layout.segment("words", waiting.segment_id).remove()
    assert not node.builder.build("words", waiting)


def _index_files(node: WritePath, segment: Segment) -> set[str]:
    folder = node.parts.layout.segment(segment.table_id, segment.segment_id)
    return {path.name for path in folder.path.iterdir() if path.name.isdecimal()}


@pytest.mark.parametrize(
    ("asked", "metric", "recorded"),
    [
        (IndexType.FLAT, MetricType.L2, IndexType.FLAT),
        (IndexType.HNSW, MetricType.IP, IndexType.HNSW),
        (IndexType.FLAT, MetricType.HAMMING, IndexType.BIN_FLAT),
        (IndexType.IVF_FLAT, MetricType.JACCARD, IndexType.BIN_IVF_FLAT),
    ],
)
def test_binary_indexes_have_numbers_of_their_own(asked: IndexType, metric: MetricType, recorded: IndexType) -> None:
    assert engine_type(asked, metric) is recorded
    assert recorded.on_the_wire is asked
