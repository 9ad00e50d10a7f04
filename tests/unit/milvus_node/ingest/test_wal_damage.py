from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_node.errors import LogDamaged
from milvus_node.ingest.wal import InsertRecord, WalOptions, WriteAheadLog

WAIT_S = 20.0
HEADER = 32


def insert(value: int, rows: int = 1) -> InsertRecord:
    return InsertRecord("words", np.full(rows, value), np.full((rows, 8), value, np.uint8), False)


def hold(entered: threading.Event, go: threading.Event, _: int) -> None:
    """Hold the log's thread, so that what is appended meanwhile forms one group."""
    entered.set()
    assert go.wait(WAIT_S)


def written(folder: Path, groups: list[int], file_bytes: int = 1 << 20) -> list[int]:
    """Write a log with this many one-row records in each group; return all LSNs."""
    log = WriteAheadLog.open(folder, WalOptions(file_bytes=file_bytes))
    assert list(log.replay()) == []
    futures = []
    previous = threading.Event()
    previous.set()
    for value, size in enumerate(groups):
        last_entered, go = threading.Event(), threading.Event()
        futures += [log.append(insert(value)) for _ in range(size - 1)]
        futures += [log.append(insert(value), partial(hold, last_entered, go))]
        previous.set()
        assert last_entered.wait(WAIT_S)
        previous = go
    previous.set()
    log.close()
    return [future.result(0) for future in futures]


def replayed(folder: Path, *, ignore_damage: bool = False) -> list[int]:
    log = WriteAheadLog.open(folder, WalOptions(ignore_damage=ignore_damage))
    try:
        return [lsn for lsn, _ in log.replay()]
    finally:
        log.close()


def offsets(lsns: list[int]) -> list[int]:
    return [lsn & 0xFFFFFFFF for lsn in lsns]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """The bytes and LSNs of a log of three records, each synced by itself."""
    folder = tmp_path_factory.mktemp("three")
    lsns = written(folder, [1, 1, 1])
    return (folder / "1.wal").read_bytes(), lsns


# --- a torn end ----------------------------------------------------------------------------------------------


def test_a_log_torn_at_any_byte_is_cut_at_the_last_whole_record(tmp_path: Path, three: tuple[bytes, list[int]]) -> None:
    content, lsns = three
    for size in range(HEADER, len(content)):
        (tmp_path / "1.wal").write_bytes(content[:size])
        whole = [lsn for lsn in lsns if lsn & 0xFFFFFFFF <= size]
        assert replayed(tmp_path) == whole
        assert (tmp_path / "1.wal").stat().st_size == max([HEADER, *offsets(whole)])


def test_records_appended_after_a_cut_are_replayed(tmp_path: Path, three: tuple[bytes, list[int]]) -> None:
    content, lsns = three
    (tmp_path / "1.wal").write_bytes(content[:-1])
    log = WriteAheadLog.open(tmp_path)
    assert [lsn for lsn, _ in log.replay()] == lsns[:2]
    new = log.append(insert(9, rows=3)).result(WAIT_S)
    log.close()
    assert replayed(tmp_path) == [*lsns[:2], new]


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xabREC" * 100, b"\xff" * 31])
def test_what_is_no_record_behind_the_last_is_cut(tmp_path: Path, three: tuple[bytes, list[int]], tail: bytes) -> None:
    content, lsns = three
    (tmp_path / "1.wal").write_bytes(content + tail)
    assert replayed(tmp_path) == lsns
    assert (tmp_path / "1.wal").read_bytes() == content


def test_a_record_inside_a_torn_record_s_vectors_is_not_believed(
    tmp_path: Path, three: tuple[bytes, list[int]]
) -> None:
    content, _ = three
    vectors = np.frombuffer(content[HEADER:] * 3, np.uint8).reshape(3, -1)
    log = WriteAheadLog.open(tmp_path)
    assert list(log.replay()) == []
    log.append(InsertRecord("words", np.arange(3), vectors, False)).result(WAIT_S)
    log.close()
    os.truncate(tmp_path / "1.wal", (tmp_path / "1.wal").stat().st_size - 1)
    assert replayed(tmp_path) == []


@given(data=st.data(), groups=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_whatever_a_power_cut_leaves_of_the_last_group_the_ones_before_are_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, groups: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    lsns = written(folder, groups)
    ends = [HEADER, *offsets(lsns)]
    durable = sum(groups[:-1])
    content = bytearray((folder / "1.wal").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(ends[durable], len(content) - 1))
        stop = data.draw(st.integers(start + 1, len(content)))
        content[start:stop] = bytes(stop - start)
    (folder / "1.wal").write_bytes(content)
    found = replayed(folder)
    assert found == lsns[: len(found)]
    assert len(found) >= durable


# --- damage --------------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_before_the_last_record_is_damage_with_its_place(
    tmp_path: Path, three: tuple[bytes, list[int]]
) -> None:
    content, lsns = three
    starts = [0, HEADER, *offsets(lsns)]
    for position in range(offsets(lsns)[1]):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (tmp_path / "1.wal").write_bytes(changed)
        start = max(start for start in starts if start <= position)
        with pytest.raises(LogDamaged, match=rf"1\.wal is damaged at offset {start}: .*; restore the file"):
            replayed(tmp_path)
        assert (tmp_path / "1.wal").read_bytes() == changed


def test_a_flipped_bit_in_the_last_record_never_yields_it(tmp_path: Path, three: tuple[bytes, list[int]]) -> None:
    content, lsns = three
    for position in range(offsets(lsns)[1], len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (tmp_path / "1.wal").write_bytes(changed)
        assert replayed(tmp_path) == lsns[:2]


@pytest.fixture
def two_files(tmp_path: Path) -> list[int]:
    """The LSNs of a log of four records in files 1 and 2."""
    lsns = written(tmp_path, [1, 1, 1, 1], file_bytes=200)
    assert [lsn >> 32 for lsn in lsns] == [1, 1, 2, 2]
    return lsns


def test_a_torn_end_of_a_file_that_is_not_the_last_is_damage(tmp_path: Path, two_files: list[int]) -> None:
    path = tmp_path / "1.wal"
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(LogDamaged, match=r"\.wal is damaged at offset"):
            replayed(tmp_path)


def test_a_file_that_lacks_whole_records_at_its_end_is_noticed(tmp_path: Path, two_files: list[int]) -> None:
    os.truncate(tmp_path / "1.wal", offsets(two_files)[0])
    with pytest.raises(LogDamaged, match=rf"2\.wal .* ends at LSN {two_files[0]}, not at {two_files[1]}"):
        replayed(tmp_path)


def test_a_missing_file_in_the_middle_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, [1, 1, 1], file_bytes=100)
    (tmp_path / "2.wal").unlink()
    with pytest.raises(LogDamaged, match=r"3\.wal is damaged at offset 0: the log before it"):
        replayed(tmp_path)


def test_a_file_under_another_s_name_is_noticed(tmp_path: Path, two_files: list[int]) -> None:
    (tmp_path / "2.wal").rename(tmp_path / "5.wal")
    with pytest.raises(LogDamaged, match=r"5\.wal is damaged at offset 0: it is file 2"):
        replayed(tmp_path)


def test_another_server_s_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0.wal").write_bytes(bytes(1000))
    (tmp_path / "mxlog.meta").write_bytes(bytes(24))
    with pytest.raises(LogDamaged, match="another server's log belongs elsewhere"):
        replayed(tmp_path)
    assert (tmp_path / "0.wal").read_bytes() == bytes(1000)


def test_a_record_that_does_not_add_up_is_damage(
    tmp_path: Path, three: tuple[bytes, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.wal").write_bytes(three[0])

    def decode(*_: object) -> None:
        raise ValueError("seven tables")

    monkeypatch.setattr("milvus_node.ingest.wal_format.decode", decode)
    with pytest.raises(LogDamaged, match="offset 32: seven tables"):
        replayed(tmp_path)


# --- damage ignored ------------------------------------------------------------------------------------------


def test_ignored_damage_drops_the_rest_for_good_and_lsns_go_on(
    tmp_path: Path, two_files: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "1.wal"
    changed = bytearray(path.read_bytes())
    changed[offsets(two_files)[0] + 40] ^= 1
    path.write_bytes(changed)
    assert replayed(tmp_path, ignore_damage=True) == two_files[:1]
    assert "dropping the rest" in caplog.text
    assert (tmp_path / "2.wal.dropped").exists()
    log = WriteAheadLog.open(tmp_path, WalOptions(above_lsn=two_files[-1]))
    assert [lsn for lsn, _ in log.replay()] == two_files[:1]
    new = log.append(insert(9)).result(WAIT_S)
    log.close()
    assert new > two_files[-1]
    assert replayed(tmp_path) == [two_files[0], new]


def test_an_ignored_file_that_is_no_log_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "3.wal").write_bytes(b"not a log")
    log = WriteAheadLog.open(tmp_path, WalOptions(ignore_damage=True))
    assert list(log.replay()) == []
    assert log.append(insert(1)).result(WAIT_S) >> 32 == 4
    log.close()
    assert (tmp_path / "3.wal.dropped").read_bytes() == b"not a log"


def test_unfinished_and_unknown_files_do_not_disturb(tmp_path: Path, three: tuple[bytes, list[int]]) -> None:
    content, lsns = three
    (tmp_path / "1.wal").write_bytes(content)
    (tmp_path / "2.wal.17-0123abcd.tmp").write_bytes(b"half a head")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "old.wal").write_text("mine too")
    assert replayed(tmp_path) == lsns
    assert {path.name for path in tmp_path.iterdir()} == {"1.wal", "lock", "notes.txt", "old.wal"}
