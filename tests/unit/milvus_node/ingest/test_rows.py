from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from harness.write_path import WAIT_S, OpenWritePath, WritePath
from milvus_node.errors import DiskFull
from milvus_node.ingest.wal import InsertRecord
from mishards.catalog.records import IdMode
from mishards.deadline import Deadline
from mishards.errors import (
    CatalogUnavailable,
    CollectionNotFound,
    DeadlineExceeded,
    IllegalIds,
    PartitionError,
)

AWAY = CatalogUnavailable("the database is away")


def refuse(*_: Any, **__: Any) -> Any:
    raise AWAY


def test_generated_ids_rise_over_all_calls(node: WritePath) -> None:
    node.create()
    given = node.insert(None, rows=3) + node.insert(None, rows=2500) + node.insert(None, rows=1)
    assert given == sorted(set(given))
    node.flush()
    assert node.ids() == given


def test_generated_ids_rise_over_a_crash_although_the_clock_goes_back(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    node.create()
    flushed = node.insert(None, rows=1)
    node.flush()
    unflushed = node.insert(None, rows=3000)
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    node = open_node()
    later = node.insert(None, rows=1)
    assert flushed < unflushed < later


def test_a_new_segment_is_named_behind_all_that_exist_although_the_clock_goes_back(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node()
    node.create()
    node.insert([1])
    node.flush()
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    node = open_node()
    node.insert([2])
    node.flush()
    first, second = node.collection().segments
    assert int(first.segment_id) < int(second.segment_id)


@pytest.mark.parametrize(("first", "second"), [(None, [1]), ([1], None)])
def test_the_first_insert_decides_who_gives_the_ids(
    node: WritePath, first: list[int] | None, second: list[int] | None
) -> None:
    node.create()
    node.insert(first, rows=1)
    with pytest.raises(IllegalIds):
        node.insert(second, rows=1)
    node.insert(first, rows=1)
    node.flush()
    assert len(node.ids()) == 2


def test_the_id_mode_survives_the_deletion_of_all_rows_and_a_restart(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.insert([1])
    node.delete([1])
    node.flush()
    with pytest.raises(IllegalIds):
        open_node().insert(None, rows=1)


def test_of_many_first_inserts_at_once_only_one_kind_is_accepted(node: WritePath) -> None:
    for attempt in range(5):
        name = f"c{attempt}"
        collection = node.create(name)
        together = threading.Barrier(8)

        def insert(
            number: int, collection: Any = collection, together: threading.Barrier = together
        ) -> bool | IllegalIds:
            together.wait(WAIT_S)
            try:
                node.insert_into(collection, [number] if number % 2 else None, rows=1)
            except IllegalIds as error:
                return error
            return bool(number % 2)

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(insert, range(8)))
        accepted = {outcome for outcome in outcomes if not isinstance(outcome, IllegalIds)}
        assert len(accepted) == 1
        assert node.collection(name).id_mode is (IdMode.USER if accepted.pop() else IdMode.GENERATED)
        node.flush(name)
        assert len(node.ids(name)) == 4


def test_an_id_mode_that_cannot_be_recorded_accepts_no_rows(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    with monkeypatch.context() as failing:
        failing.setattr(node.parts.definitions, "set_id_mode", refuse)
        with pytest.raises(CatalogUnavailable):
            node.insert(None, rows=1)
    node.insert([1])
    node.flush()
    assert node.ids() == [1]


def test_an_id_mode_whose_recording_got_no_answer_stands(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    record = node.parts.definitions.set_id_mode

    def record_and_fail(*args: Any) -> None:
        record(*args)
        raise AWAY

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.definitions, "set_id_mode", record_and_fail)
        with pytest.raises(CatalogUnavailable):
            node.insert(None, rows=1)
    with pytest.raises(IllegalIds):
        node.insert([1])
    assert node.parts.buffer.pending() == []


def test_rows_go_to_the_partition_of_their_tag(node: WritePath) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1], tag="p")
    node.insert([2], tag="_default")
    node.insert([3])
    node.flush()
    assert (node.ids(tag="p"), node.ids(tag="_default")) == ([1], [2, 3])


def test_a_delete_with_a_tag_leaves_other_partitions_alone_and_one_without_reaches_all(node: WritePath) -> None:
    node.create()
    node.collections.create_partition(node.collection(), "p")
    for flushed in (True, False):
        node.insert([1, 2], tag="p")
        node.insert([1, 2])
        if flushed:
            node.flush()
    node.delete([1], tag="p")
    node.delete([2])
    node.flush()
    assert (node.ids(tag="p"), node.ids(tag="_default")) == ([], [1, 1])


@pytest.mark.parametrize("call", ["insert", "delete"])
def test_an_unknown_tag_is_refused(node: WritePath, call: str) -> None:
    node.create()
    with pytest.raises(PartitionError, match="Collection words's partition p not found"):
        getattr(node, call)([1], tag="p")


def test_a_delete_of_nothing_or_of_unknown_ids_is_no_error(node: WritePath) -> None:
    node.create()
    node.insert([1])
    node.delete([])
    node.delete([7, 7])
    node.flush()
    assert node.ids() == [1]


def test_a_call_checked_against_a_dropped_collection_does_not_reach_the_one_made_in_its_place(node: WritePath) -> None:
    old = node.create()
    node.collections.drop(old)
    node.create(dimension=8)
    with pytest.raises(CollectionNotFound):
        node.insert_into(old, [1])
    with pytest.raises(CollectionNotFound):
        node.rows.delete(old, "", [1], Deadline.after(WAIT_S))


def test_a_full_buffer_is_flushed_before_more_is_accepted_whoever_filled_it(open_node: OpenWritePath) -> None:
    node = open_node(buffer_bytes=100)
    node.create()
    node.create("other")
    node.insert(list(range(10)))
    assert node.ids() == []
    node.insert_into(node.collection("other"), [1])
    assert node.ids() == list(range(10))
    assert node.parts.buffer.nbytes < 100


def test_a_full_buffer_that_cannot_be_flushed_accepts_nothing_more(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node(buffer_bytes=100)
    node.create()
    node.insert([*range(10)])
    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "flush", refuse)
        for call in (lambda: node.insert([10]), lambda: node.delete([1])):
            with pytest.raises(CatalogUnavailable):
                call()
    node.flush()
    assert node.ids() == [*range(10)]


def test_rows_that_the_log_refuses_are_not_in_the_buffer(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    node.insert([1])

    def full(*_: Any, **__: Any) -> Any:
        raise DiskFull("no room")

    with monkeypatch.context() as failing:
        failing.setattr(node.wal._writer, "commit", full)
        with pytest.raises(DiskFull):
            node.insert([2])
    node.flush()
    assert node.ids() == [1]


def test_a_log_that_is_slower_than_the_deadline_is_reported_as_such(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = node.create()
    node.insert([1])
    held = threading.Event()
    commit = node.wal._commit  # its thread looks it up again for each group

    def commit_later(group: Any) -> None:
        held.wait(WAIT_S)
        commit(group)

    monkeypatch.setattr(node.wal, "_commit", commit_later)
    with pytest.raises(DeadlineExceeded):
        node.rows.insert(collection, "", np.array([2]), np.zeros((1, 16), np.uint8), Deadline.after(0))
    held.set()
    node.insert([3])
    node.flush()
    assert node.ids() == [1, 2, 3]


def test_the_log_says_who_gave_the_ids(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create("given")
    node.create("generated")
    records: list[InsertRecord] = []
    append = node.wal.append

    def watched(record: Any, *args: Any, **kwargs: Any) -> Any:
        records.append(record)
        return append(record, *args, **kwargs)

    monkeypatch.setattr(node.wal, "append", watched)
    node.insert_into(node.collection("given"), [1])
    node.insert_into(node.collection("generated"), None, rows=1)
    assert [record.ids_generated for record in records] == [False, True]
