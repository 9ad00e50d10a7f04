"""Logs of one term after another: nothing that was acknowledged is passed over, nothing that came late is taken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvus_node.errors import FolderLocked, LogDamaged, StorageError
from milvus_node.ingest.wal import InsertRecord, WalOptions, WriteAheadLog

WAIT_S = 20.0

OPTIONS = WalOptions()


def insert(value: int) -> InsertRecord:
    return InsertRecord("words", np.full(1, value), np.full((1, 8), value % 256, np.uint8), False)


class Terms:
    """Opens logs of terms below one root, and closes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open_logs: list[WriteAheadLog] = []

    def begin(self, epoch: int, **options: Any) -> tuple[WriteAheadLog, list[int]]:
        """Open the log of a term; return it with the values replayed."""
        log = WriteAheadLog.open_term(self.root, epoch, WalOptions(**options))
        self.open_logs.append(log)
        return log, [int(record.ids[0]) for _, record in log.replay()]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def terms(tmp_path: Path) -> Iterator[Terms]:
    made = Terms(tmp_path / "wal")
    yield made
    for log in made.open_logs:
        log.close()


def append(log: WriteAheadLog, *values: int) -> list[int]:
    return [log.append(insert(value)).result(WAIT_S) for value in values]


def test_a_term_begins_with_the_records_of_all_before_and_numbers_go_on(terms: Terms) -> None:
    lsns = []
    for epoch in (1, 2, 5):
        log, found = terms.begin(epoch)
        assert found == list(range(len(lsns)))
        lsns += append(log, len(lsns))
    assert lsns == sorted(set(lsns))
    assert [lsn >> 32 for lsn in lsns] == [1, 2, 3]


def test_earlier_logs_go_once_all_of_them_is_flushed(terms: Terms) -> None:
    first, _ = terms.begin(1)
    one, two = append(first, 1, 2)
    second, found = terms.begin(2)
    assert found == [1, 2]
    second.cut(one)
    assert terms.names() == [f"1.closed.{two}", "2"]
    second.cut(two)
    assert terms.names() == ["2"]
    (three,) = append(second, 3)
    third, found = terms.begin(3)
    assert found == [3]
    third.cut(three)
    assert terms.names() == ["3"]


def test_a_log_of_a_version_without_terms_is_read_first_and_goes_too(terms: Terms) -> None:
    old = WriteAheadLog.open(terms.root)
    assert list(old.replay()) == []
    (last,) = append(old, 1)
    old.close()
    log, found = terms.begin(1)
    assert found == [1]
    (new,) = append(log, 2)
    assert new > last
    _, found = terms.begin(2)
    assert found == [1, 2]
    terms.open_logs[-1].cut(new)
    assert terms.names() == ["2", "lock"]


def test_what_a_stale_writer_appends_after_its_successor_has_read_does_not_count(terms: Terms) -> None:
    stale, _ = terms.begin(1)
    append(stale, 1)
    _, found = terms.begin(2)
    assert found == [1]
    append(stale, 2, 3)  # into the file that it has open
    _, found = terms.begin(3)
    assert found == [1]


def test_a_stale_writer_begins_no_further_file_and_makes_no_folder_again(terms: Terms) -> None:
    stale, _ = terms.begin(1, file_bytes=150)
    append(stale, 1)
    successor, _ = terms.begin(2)
    for _ in range(2):
        with pytest.raises(StorageError):
            append(stale, 2, 3, 4)
    assert not (terms.root / "1").exists()
    successor.cut(successor.last_lsn)
    assert terms.names() == ["2"]
    with pytest.raises(StorageError):
        append(stale, 5)
    assert terms.names() == ["2"]


def test_a_successor_that_died_while_it_read_is_followed_by_one_that_reads_all(terms: Terms) -> None:
    first, _ = terms.begin(1)
    append(first, 1, 2)
    dying = WriteAheadLog.open_term(terms.root, 2, OPTIONS)
    terms.open_logs.append(dying)
    next(dying.replay())
    assert terms.names() == ["1.closed", "2"]
    _, found = terms.begin(3)
    assert found == [1, 2]


def test_a_torn_end_of_an_earlier_log_is_left_out_and_left_alone(terms: Terms) -> None:
    first, _ = terms.begin(1)
    append(first, 1, 2)
    first.close()
    path = terms.root / "1" / "1.wal"
    path.write_bytes(path.read_bytes()[:-1])
    size = path.stat().st_size
    log, found = terms.begin(2)
    assert found == [1]
    (closed,) = [folder for folder in terms.root.iterdir() if ".closed." in folder.name]
    assert (closed / "1.wal").stat().st_size == size
    append(log, 3)
    _, found = terms.begin(3)
    assert found == [1, 3]


def test_damage_in_an_earlier_log_stops_the_term(terms: Terms) -> None:
    first, _ = terms.begin(1)
    append(first, 1, 2)
    first.close()
    path = terms.root / "1" / "1.wal"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(LogDamaged, match=r"1\.closed/1\.wal is damaged at offset 32"):
        terms.begin(2)
    _, found = terms.begin(3, ignore_damage=True)
    assert found == []


def test_terms_without_a_record_leave_nothing_and_strangers_stay(terms: Terms) -> None:
    for epoch in range(1, 4):
        terms.begin(epoch)[0].close()
    (terms.root / "2.closed.0" / "notes.txt").write_text("mine")
    (terms.root / "word").mkdir()
    log, found = terms.begin(9)
    assert found == []
    log.cut(log.last_lsn)
    assert terms.names() == ["2.closed.0", "9", "word"]
    shutil.rmtree(terms.root / "2.closed.0")


def test_a_term_has_one_log(terms: Terms) -> None:
    terms.begin(1)
    with pytest.raises(FolderLocked):
        terms.begin(1)
