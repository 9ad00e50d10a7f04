from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvus_node.errors import FolderLocked
from milvus_node.ingest.wal import DeleteRecord, InsertRecord, Record, WalOptions, WriteAheadLog
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded, Overloaded, ShuttingDown

WAIT_S = 20.0

OpenLog = Callable[..., WriteAheadLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[OpenLog]:
    """Open and replay the log of this test; closed after it."""
    logs: list[WriteAheadLog] = []

    def open_and_replay(**options: Any) -> WriteAheadLog:
        logs.append(WriteAheadLog.open(tmp_path / "wal", WalOptions(**options)))
        for _ in logs[-1].replay():
            pass
        return logs[-1]

    yield open_and_replay
    for log in logs:
        log.close()


def insert(value: int, rows: int = 1, row_bytes: int = 8, table_id: str = "words") -> InsertRecord:
    return InsertRecord(table_id, np.full(rows, value), np.full((rows, row_bytes), value % 256, np.uint8), False)


def replayed(folder: Path, after: Callable[[str], int] | None = None, **options: Any) -> list[tuple[int, Record]]:
    log = WriteAheadLog.open(folder / "wal", WalOptions(**options))
    try:
        return list(log.replay(after))
    finally:
        log.close()


def first_ids(records: list[tuple[int, Record]]) -> list[int]:
    return [int(record.ids[0]) for _, record in records]


class Gate:
    """Holds the log's thread in the ``applied`` of a record, so that what is appended meanwhile forms one group."""

    def __init__(self, log: WriteAheadLog) -> None:
        self._open = threading.Event()
        entered = threading.Event()

        def wait(_: int) -> None:
            entered.set()
            assert self._open.wait(WAIT_S)

        self.future = log.append(insert(-1), wait)
        assert entered.wait(WAIT_S)

    def open(self) -> None:
        self._open.set()


# --- appending -----------------------------------------------------------------------------------------------


def test_appends_of_many_threads_all_resolve_and_are_applied_in_lsn_order(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(file_bytes=20_000)
    applied: list[int] = []
    with ThreadPoolExecutor(16) as pool:
        lsns = list(pool.map(lambda value: log.append(insert(value), applied.append).result(WAIT_S), range(800)))
    log.close()
    assert applied == sorted(set(lsns))
    assert log.last_lsn == applied[-1]
    records = replayed(tmp_path)
    assert [lsn for lsn, _ in records] == applied
    assert sorted(first_ids(records)) == list(range(800))
    by_value = dict(zip(first_ids(records), applied, strict=True))
    assert [by_value[value] for value in range(800)] == lsns
    assert len(list((tmp_path / "wal").glob("*.wal"))) > 1


def test_records_that_wait_share_one_sync(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log()
    gate = Gate(log)
    futures = [log.append(insert(value)) for value in range(50)]
    syncs: list[int] = []
    monkeypatch.setattr("os.fdatasync", syncs.append)
    gate.open()
    lsns = [future.result(WAIT_S) for future in futures]
    assert lsns == sorted(lsns)
    assert len(syncs) == 1


def test_a_future_is_resolved_only_after_the_sync_and_after_it_was_applied(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    steps: list[str] = []
    monkeypatch.setattr("os.fdatasync", lambda _: steps.append("sync"))
    future = log.append(insert(1), lambda _: steps.append("applied"))
    future.add_done_callback(lambda _: steps.append("resolved"))
    future.result(WAIT_S)
    log.close()
    assert steps == ["sync", "applied", "resolved"]


def test_what_applied_raises_is_the_result_of_that_record_alone(
    open_log: OpenLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log()

    def refuse(_: int) -> None:
        raise KeyError("no such buffer")

    gate = Gate(log)
    futures = [log.append(insert(1)), log.append(insert(2), refuse), log.append(insert(3))]
    gate.open()
    with pytest.raises(KeyError, match="no such buffer"):
        futures[1].result(WAIT_S)
    assert futures[0].result(WAIT_S) < futures[2].result(WAIT_S)
    assert "record logged but not applied" in caplog.text
    log.close()
    assert first_ids(replayed(tmp_path)) == [-1, 1, 2, 3]


def test_a_future_cancelled_while_it_waits_takes_its_record_back(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    gate = Gate(log)
    futures = [log.append(insert(value)) for value in range(3)]
    assert futures[1].cancel()
    gate.open()
    assert futures[0].result(WAIT_S) < futures[2].result(WAIT_S)
    with pytest.raises(CancelledError):
        futures[1].result(WAIT_S)
    log.close()
    assert first_ids(replayed(tmp_path)) == [-1, 0, 2]


async def test_a_future_can_be_awaited(open_log: OpenLog) -> None:
    log = open_log()
    lsn = await asyncio.wait_for(asyncio.wrap_future(log.append(insert(1))), WAIT_S)
    assert lsn == log.last_lsn


def test_the_log_keeps_no_array_once_it_is_written(open_log: OpenLog) -> None:
    log = open_log()
    record = insert(1)
    kept = weakref.ref(record.vectors)
    future = log.append(record)
    future.result(WAIT_S)
    log.append(insert(2)).result(WAIT_S)  # the first group's frame is gone by now
    del record
    gc.collect()
    assert kept() is None


# --- back-pressure -------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_when_the_deadline_passes_and_takes_more_once_there_is_room(open_log: OpenLog) -> None:
    log = open_log(queue_bytes=1000)
    gate = Gate(log)
    waiting = log.append(insert(1, rows=50))
    with pytest.raises(Overloaded, match=r"\d+ bytes wait to be written, no room for 456 within 1000"):
        log.append(insert(2, rows=25), deadline=Deadline.after(0.01))
    gate.open()
    assert waiting.result(WAIT_S) < log.append(insert(3, rows=25), deadline=Deadline.after(WAIT_S)).result(WAIT_S)


def test_a_record_larger_than_the_queue_passes_alone(open_log: OpenLog) -> None:
    log = open_log(queue_bytes=100)
    assert log.append(insert(1, rows=500), deadline=Deadline.after(WAIT_S)).result(WAIT_S) == log.last_lsn


def test_closing_frees_those_who_wait_for_room(open_log: OpenLog) -> None:
    log = open_log(queue_bytes=1000)
    gate = Gate(log)
    log.append(insert(1, rows=50))
    refused: Future[None] = Future()

    def wait_for_room() -> None:
        try:
            log.append(insert(2, rows=50))
        except ShuttingDown as error:
            refused.set_exception(error)

    thread = threading.Thread(target=wait_for_room)
    thread.start()
    with pytest.raises(DeadlineExceeded, match="bytes to write"):
        log.close(Deadline.after(0.01))
    with pytest.raises(ShuttingDown):
        refused.result(WAIT_S)
    gate.open()
    log.close()
    thread.join(WAIT_S)


def test_a_record_that_fits_no_file_is_refused(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log()
    monkeypatch.setattr("milvus_node.ingest.wal.MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="does not fit a log file"):
        log.append(insert(1, rows=100))


# --- opening and closing -------------------------------------------------------------------------------------


def test_closing_writes_what_waits(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    gate = Gate(log)
    futures = [log.append(insert(value)) for value in range(20)]
    closing = threading.Thread(target=log.close)
    closing.start()
    gate.open()
    closing.join(WAIT_S)
    assert all(future.done() for future in futures)
    assert first_ids(replayed(tmp_path)) == [-1, *range(20)]


def test_a_closed_log_takes_nothing_and_closes_again(open_log: OpenLog) -> None:
    log = open_log()
    log.close()
    log.close()
    with pytest.raises(ShuttingDown):
        log.append(insert(1))


def test_the_thread_ends_with_the_log_and_has_a_name(open_log: OpenLog) -> None:
    log = open_log()
    assert "wal-wal" in [thread.name for thread in threading.enumerate()]
    log.close()
    assert "wal-wal" not in [thread.name for thread in threading.enumerate()]


def test_a_folder_has_one_log_at_a_time(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    with pytest.raises(FolderLocked, match="wal is locked by process"):
        WriteAheadLog.open(tmp_path / "wal")
    log.close()
    assert replayed(tmp_path) == []


def test_a_log_must_be_replayed_to_its_end_before_it_takes_records(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    for value in range(2):
        log.append(insert(value)).result(WAIT_S)
    log.close()
    again = WriteAheadLog.open(tmp_path / "wal")
    replay = again.replay()
    next(replay)
    with pytest.raises(RuntimeError, match="replayed before the first append"):
        again.append(insert(2))
    assert again.size_bytes == 0
    assert len(list(replay)) == 1
    with pytest.raises(RuntimeError, match="replayed once"):
        list(again.replay())
    again.close()


# --- LSNs, files and what is left after a flush --------------------------------------------------------------


def test_lsns_rise_across_restarts_and_the_file_is_gone_on_with(open_log: OpenLog, tmp_path: Path) -> None:
    lsns = []
    for value in range(3):
        log = open_log()
        lsns += [log.append(insert(value)).result(WAIT_S)]
        log.close()
    assert lsns == sorted(set(lsns))
    assert [path.name for path in (tmp_path / "wal").glob("*.wal")] == ["1.wal"]
    assert first_ids(replayed(tmp_path)) == [0, 1, 2]


def test_a_file_that_is_full_is_followed_by_the_next(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(file_bytes=1000)
    lsns = [log.append(insert(value, rows=20)).result(WAIT_S) for value in range(6)]  # 384 bytes each
    assert [lsn >> 32 for lsn in lsns] == [1, 1, 2, 2, 3, 3]
    files = list((tmp_path / "wal").glob("*.wal"))
    assert len(files) == 3
    assert log.size_bytes == sum(path.stat().st_size for path in files)
    log.close()
    assert first_ids(replayed(tmp_path)) == list(range(6))


def test_a_record_may_exceed_the_size_of_a_file_by_itself(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(file_bytes=1000)
    lsns = [log.append(insert(value, rows=rows)).result(WAIT_S) for value, rows in enumerate([1, 500, 1])]
    assert [lsn >> 32 for lsn in lsns] == [1, 2, 3]
    log.close()
    assert first_ids(replayed(tmp_path)) == [0, 1, 2]


def test_a_cut_removes_files_that_are_wholly_flushed(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(file_bytes=1000)
    lsns = [log.append(insert(value, rows=20)).result(WAIT_S) for value in range(6)]
    log.cut(lsns[2])
    assert sorted(path.name for path in (tmp_path / "wal").glob("*.wal")) == ["2.wal", "3.wal"]
    log.cut(lsns[3])
    assert sorted(path.name for path in (tmp_path / "wal").glob("*.wal")) == ["3.wal"]
    log.close()
    assert first_ids(replayed(tmp_path)) == [4, 5]


def test_a_cut_of_everything_empties_the_log_and_lsns_go_on(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(roll_bytes=100)
    last = log.append(insert(1)).result(WAIT_S)
    log.cut(last)
    assert log.size_bytes == 32
    log.cut(last)
    assert [path.name for path in (tmp_path / "wal").glob("*.wal")] == ["2.wal"]
    log.close()
    again = open_log()
    assert again.last_lsn >= last
    assert again.append(insert(2)).result(WAIT_S) > last
    again.close()
    assert first_ids(replayed(tmp_path)) == [2]


def test_a_small_current_file_stays_when_everything_is_cut(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(roll_bytes=1000)
    log.cut(log.append(insert(1)).result(WAIT_S))
    assert [path.name for path in (tmp_path / "wal").glob("*.wal")] == ["1.wal"]


def test_new_lsns_are_above_what_the_catalog_has_seen(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(above_lsn=7 << 32 | 52_680_272)
    assert log.last_lsn == 7 << 32 | 52_680_272
    assert log.append(insert(1)).result(WAIT_S) >> 32 == 8
    log.close()
    again = open_log(above_lsn=9 << 32)
    assert again.append(insert(2)).result(WAIT_S) >> 32 == 10
    again.close()
    assert first_ids(replayed(tmp_path)) == [1, 2]


def test_replay_leaves_out_what_each_table_has_flushed(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    lsns = [
        log.append(record).result(WAIT_S)
        for record in (
            insert(1, table_id="a"),
            insert(2, table_id="b"),
            DeleteRecord(("a", "b", "c"), np.array([3])),
            DeleteRecord(("a",), np.array([4])),
            insert(5, table_id="a"),
        )
    ]
    log.close()
    flushed = {"a": lsns[3], "b": lsns[1], "c": lsns[2]}
    records = replayed(tmp_path, flushed.__getitem__)
    assert [lsn for lsn, _ in records] == [lsns[2], lsns[4]]
    assert first_ids(records) == [3, 5]
    assert isinstance(records[0][1], DeleteRecord)
    assert records[0][1].table_ids == ("b",)
