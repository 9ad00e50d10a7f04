from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from harness.waiting import eventually
from harness.write_path import WAIT_S, OpenWritePath, WritePath
from milvus_node.errors import DiskFull
from milvus_node.ingest import flush as flush_module
from milvus_node.storage.segment_folder import SegmentFolder
from mishards.catalog.tables import environment
from mishards.errors import CatalogUnavailable

AWAY = CatalogUnavailable("the database is away")


def raise_before(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, *, call: int = 1) -> None:
    """Let the ``call``-th call fail before it has done anything."""
    _fail(monkeypatch, target, name, call, does_it=False)


def raise_after(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, *, call: int = 1) -> None:
    """Let the ``call``-th call do its work and fail all the same, as when an answer is lost."""
    _fail(monkeypatch, target, name, call, does_it=True)


def _fail(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, call: int, *, does_it: bool) -> None:
    original = getattr(target, name)
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return original(*args, **kwargs)
        if does_it:
            original(*args, **kwargs)
        raise AWAY

    monkeypatch.setattr(target, name, failing)


# The steps of a flush, in order: what fails, and whether it has done its work before.
STEPS: dict[str, Callable[[pytest.MonkeyPatch, WritePath], None]] = {
    "before anything": lambda m, n: raise_before(m, n.parts.catalog, "refreshed"),
    "before the first segment": lambda m, n: raise_before(m, SegmentFolder, "write_raw"),
    "after the first segment": lambda m, n: raise_after(m, SegmentFolder, "write_raw"),
    "before the second segment": lambda m, n: raise_before(m, SegmentFolder, "write_raw", call=2),
    "after the last segment": lambda m, n: raise_after(m, SegmentFolder, "write_raw", call=2),
    "before the tombstones": lambda m, n: raise_before(m, SegmentFolder, "write_deleted"),
    "after the tombstones": lambda m, n: raise_after(m, SegmentFolder, "write_deleted"),
    "before the transaction": lambda m, n: raise_before(m, n.parts.files, "flush"),
    "after the transaction": lambda m, n: raise_after(m, n.parts.files, "flush"),
    "while reading the catalog back": lambda m, n: raise_before(m, n.parts.catalog, "refreshed", call=2),
    "before the buffer is let go": lambda m, n: raise_before(m, n.parts.buffer, "settled"),
    "before the log is cut": lambda m, n: raise_before(m, n.wal, "cut"),
    "after the log is cut": lambda m, n: raise_after(m, n.wal, "cut"),
}


def fill(node: WritePath) -> list[int]:
    """Flushed and unflushed rows and deletes in two partitions; return the ids that are left."""
    node.create()
    node.collections.create_partition(node.collection(), "p")
    node.insert([1, 2, 3], 1.0)
    node.insert([4, 5, 6], 2.0, tag="p")
    node.flush()
    node.delete([2, 5])
    node.insert([2, 7, 8], 3.0)
    node.insert([9], 4.0, tag="p")
    node.delete([8])
    node.insert([8], 5.0)
    return [1, 2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_any_step_every_row_is_there_exactly_once(
    open_node: OpenWritePath, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    node = open_node()
    left = fill(node)
    with monkeypatch.context() as failing:
        STEPS[step](failing, node)
        with pytest.raises(CatalogUnavailable):
            node.flush()
    node = open_node()
    assert node.ids() == left
    assert node.visible()[8, 5.0] == 1
    assert node.collection().rows == len(left)


@pytest.mark.parametrize("step", STEPS)
def test_a_flush_that_failed_at_any_step_is_repeated_without_doubles_or_left_over_folders(
    node: WritePath, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    left = fill(node)
    with monkeypatch.context() as failing:
        STEPS[step](failing, node)
        with pytest.raises(CatalogUnavailable):
            node.flush()
    node.flush()
    assert node.ids() == left
    for partition in node.collection().partitions:
        assert node.folders(partition.table_id) == {segment.segment_id for segment in partition.segments}


def test_rows_are_invisible_until_they_are_flushed(node: WritePath) -> None:
    node.create()
    node.insert([1, 2])
    assert node.ids() == []
    node.flush()
    assert node.ids() == [1, 2]


def test_a_transaction_that_goes_through_long_after_its_answer_was_lost_makes_no_doubles(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    node.insert([1, 2, 3])
    commit = node.parts.files.flush
    late: list[tuple[Any, ...]] = []

    def slow(*args: Any) -> None:
        if not late:
            late.append(args)  # still on its way when the client gives up
            raise AWAY
        commit(*late[0])
        commit(*args)

    monkeypatch.setattr(node.parts.files, "flush", slow)
    with pytest.raises(CatalogUnavailable):
        node.flush()
    node.flush()
    assert node.ids() == [1, 2, 3]
    assert node.parts.buffer.pending() == []


def test_a_flush_ends_although_rows_keep_arriving(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    node.insert([0])
    commit, commits = node.parts.files.flush, 0

    def commit_while_a_client_inserts(*args: Any) -> None:
        nonlocal commits
        commits += 1
        if commits < 10:
            node.parts.buffer.insert("words", "words", np.array([commits]), np.zeros((1, 16), np.uint8), commits << 40)
        commit(*args)

    monkeypatch.setattr(node.parts.files, "flush", commit_while_a_client_inserts)
    node.flush()
    assert commits <= 2
    assert node.ids()[0] == 0


def test_what_a_failed_flush_left_comes_before_what_arrived_since(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    node.insert([1, 2])
    with monkeypatch.context() as failing:
        raise_before(failing, node.parts.files, "flush")
        with pytest.raises(CatalogUnavailable):
            node.flush()
    node.delete([1])
    node.insert([3])
    node.flush()
    assert node.ids() == [2, 3]


def test_one_collection_that_cannot_be_flushed_keeps_no_other_back(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{number}" for number in range(5)]
    for name in names:
        node.insert_into(node.create(name), [1])
    commit = node.parts.files.flush

    def all_but_one(new_files: Any, deletions: Any, lsn: int, table_ids: list[str]) -> None:
        if "c2" in table_ids:
            raise AWAY
        commit(new_files, deletions, lsn, table_ids)

    with monkeypatch.context() as failing:
        failing.setattr(node.parts.files, "flush", all_but_one)
        with pytest.raises(CatalogUnavailable):
            node.flusher.flush_all()
    assert [name for name in names if node.ids(name) == [1]] == ["c0", "c1", "c3", "c4"]
    node.flusher.flush_all()
    assert node.ids("c2") == [1]


def test_a_full_disk_is_not_filled_further_by_every_attempt(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create()
    monkeypatch.setattr(flush_module, "SEGMENT_BYTES", 32)  # two rows
    node.insert([1, 2, 3, 4, 5])
    write, calls = SegmentFolder.write_raw, 0

    def full_at_the_third(folder: SegmentFolder, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise DiskFull("no room")
        write(folder, *args, **kwargs)

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFolder, "write_raw", full_at_the_third)
        for _ in range(3):
            with pytest.raises(DiskFull):
                node.flush()
            assert node.folders() == set()
    node.flush()
    assert node.ids() == [1, 2, 3, 4, 5]
    assert len(node.collection().segments) == 3


def test_the_log_is_never_cut_beyond_a_row_that_came_while_the_cut_was_thought_of(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    node.insert([1])
    cuts: list[int] = []
    first_lsn, came = node.parts.buffer.first_lsn, 0

    def first_lsn_and_then_a_row() -> int | None:
        nonlocal came
        first = first_lsn()
        node.insert([2])
        came = node.wal.last_lsn
        return first

    monkeypatch.setattr(node.parts.buffer, "first_lsn", first_lsn_and_then_a_row)
    monkeypatch.setattr(node.wal, "cut", cuts.append)
    node.flush()
    assert cuts
    assert max(cuts) < came


def test_the_log_is_cut_up_to_what_another_collection_still_needs(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create("idle")
    node.insert_into(node.create("busy"), [1])
    needed = node.parts.buffer.first_lsn()
    node.insert_into(node.collection("idle"), [2])
    cuts: list[int] = []
    monkeypatch.setattr(node.wal, "cut", cuts.append)
    node.flush("idle")
    assert needed is not None
    assert cuts == [needed - 1]


def test_flushing_while_many_clients_insert_and_delete_loses_and_doubles_nothing(open_node: OpenWritePath) -> None:
    node = open_node()
    node.create()
    node.insert([0])
    done = threading.Event()

    def client(number: int) -> None:
        for start in range(1000 * number, 1000 * number + 200, 10):
            node.insert(list(range(start + 1, start + 11)))
            node.delete([start + 5])

    clients = [threading.Thread(target=client, args=(number,)) for number in range(1, 4)]
    flushing = threading.Thread(target=lambda: _flush_until(node, done))
    for thread in (*clients, flushing):
        thread.start()
    for thread in clients:
        thread.join(WAIT_S)
    done.set()
    flushing.join(WAIT_S)
    wanted = [0, *(i for n in (1, 2, 3) for i in range(1000 * n + 1, 1000 * n + 201) if i % 10 != 5)]
    eventually(lambda: not flushing.is_alive(), WAIT_S, "the flush ends")
    node = open_node()
    assert node.ids() == wanted


def _flush_until(node: WritePath, done: threading.Event) -> None:
    while not done.is_set():
        node.flush()


# --- the end ---------------------------------------------------------------------------------------------------------


def global_lsn(node: WritePath) -> int:
    with node._engine.connect() as connection:
        return int(connection.execute(select(environment.c.global_lsn)).scalar_one())


def test_a_clean_end_records_that_no_log_is_needed_any_more(node: WritePath) -> None:
    node.create()
    node.insert([1])
    node.flush()
    assert global_lsn(node) == 0  # as a Milvus server has it, a flush of one collection leaves it
    node.insert([2])
    node.flusher.finish()
    assert node.ids() == [1, 2]
    assert global_lsn(node) >= node.collection().table.flush_lsn > 0


def test_an_end_with_rows_that_cannot_be_flushed_records_nothing(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.create()
    node.insert([1])
    with monkeypatch.context() as failing:
        raise_before(failing, node.parts.files, "flush")
        with pytest.raises(CatalogUnavailable):
            node.flusher.finish()
    assert global_lsn(node) == 0
