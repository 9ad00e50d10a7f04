from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from milvus_node.errors import DiskFull, StorageError
from milvus_node.ingest.wal import InsertRecord, WalOptions, WriteAheadLog

WAIT_S = 20.0

APPENDER = """
import sys, threading
from pathlib import Path
import numpy as np
from milvus_node.ingest.wal import InsertRecord, WalOptions, WriteAheadLog

log = WriteAheadLog.open(Path(sys.argv[1]), WalOptions(file_bytes=20_000))
for _ in log.replay():
    pass
output = threading.Lock()

def append(worker):
    vectors = np.full((1 + worker, 100), worker, np.uint8)
    while True:
        lsn = log.append(InsertRecord("words", np.full(1 + worker, worker), vectors, False)).result()
        with output:
            print(lsn, flush=True)

for worker in range(4):
    threading.Thread(target=append, args=(worker,)).start()
"""


def insert(value: int, rows: int = 1) -> InsertRecord:
    return InsertRecord("words", np.full(rows, value), np.full((rows, 8), value, np.uint8), False)


def replayed(folder: Path) -> list[tuple[int, int]]:
    """The (LSN, first id) of every record of the log in ``folder``."""
    log = WriteAheadLog.open(folder)
    try:
        return [(lsn, int(record.ids[0])) for lsn, record in log.replay()]
    finally:
        log.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog.open(tmp_path / "wal")
    assert list(log.replay()) == []
    yield log
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB; only root can."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def failing(number: int, times: int = 1) -> Callable[..., None]:
    """A system call that fails so often and then does nothing."""
    left = [times]

    def call(*_: object) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(number, os.strerror(number))

    return call


def short_write(number: int) -> Callable[..., int]:
    """``os.pwritev`` that writes nearly everything and then fails, once."""
    real = os.pwritev
    calls = iter(range(1000))

    def pwritev(fd: int, views: list[memoryview], offset: int) -> int:
        call = next(calls)
        if call == 0:
            return real(fd, [b"".join(views)[:-1]], offset)
        if call == 1:
            raise OSError(number, os.strerror(number))
        return real(fd, views, offset)

    return pwritev


# --- no room, and other faults of writing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageError)]
)
def test_a_write_that_fails_leaves_no_byte_and_later_ones_succeed(
    log: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    first = log.append(insert(1)).result(WAIT_S)
    size = (tmp_path / "wal" / "1.wal").stat().st_size
    monkeypatch.setattr(os, "pwritev", short_write(number))
    failed = log.append(insert(2, rows=7))
    with pytest.raises(kind, match=r"1\.wal") as raised:
        failed.result(WAIT_S)
    assert type(raised.value) is kind
    assert (tmp_path / "wal" / "1.wal").stat().st_size == size
    third = log.append(insert(3)).result(WAIT_S)
    log.close()
    assert replayed(tmp_path / "wal") == [(first, 1), (third, 3)]


def test_a_whole_group_fails_together_and_nothing_of_it_is_applied(
    log: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        entered.set()
        assert go.wait(WAIT_S)

    first = log.append(insert(0), hold)
    assert entered.wait(WAIT_S)
    applied: list[int] = []
    group = [log.append(insert(value), applied.append) for value in range(1, 6)]
    monkeypatch.setattr(os, "pwritev", short_write(errno.ENOSPC))
    go.set()
    for future in group:
        with pytest.raises(DiskFull, match=r"no room for 360 bytes in .*1\.wal"):
            future.result(WAIT_S)
    assert applied == []
    assert log.last_lsn == first.result(WAIT_S)


def test_a_failed_sync_fails_the_group_and_goes_on_in_a_new_file(
    log: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log.append(insert(1)).result(WAIT_S)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO))
        with pytest.raises(StorageError, match=r"1\.wal: Input/output error"):
            log.append(insert(2)).result(WAIT_S)
    third = log.append(insert(3)).result(WAIT_S)
    assert (first >> 32, third >> 32) == (1, 2)
    log.close()
    assert replayed(tmp_path / "wal") == [(first, 1), (third, 3)]


@pytest.mark.parametrize("call", ["ftruncate", "fsync"])
def test_a_log_that_cannot_cut_a_failed_group_off_is_broken_until_it_is_reopened(
    log: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    first = log.append(insert(1)).result(WAIT_S)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", short_write(errno.EIO))
        patch.setattr(os, call, failing(errno.EROFS))
        with pytest.raises(StorageError):
            log.append(insert(2)).result(WAIT_S)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"1\.wal is broken: failed records .* restart the node"):
            log.append(insert(3))
    assert "write-ahead log broken" in caplog.text
    log.close()
    assert replayed(tmp_path / "wal") == [(first, 1)]


def test_a_new_file_that_finds_no_room_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WriteAheadLog.open(tmp_path, WalOptions(file_bytes=100))
    assert list(log.replay()) == []
    first = log.append(insert(1)).result(WAIT_S)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing(errno.ENOSPC))
        with pytest.raises(DiskFull, match=r"2\.wal"):
            log.append(insert(2)).result(WAIT_S)
    third = log.append(insert(3)).result(WAIT_S)
    log.close()
    assert [lsn >> 32 for lsn in (first, third)] == [1, 2]
    assert replayed(tmp_path) == [(first, 1), (third, 3)]


def test_the_last_file_is_never_cut_so_that_numbers_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WriteAheadLog.open(tmp_path, WalOptions(roll_bytes=0))
    assert list(log.replay()) == []
    first = log.append(insert(1)).result(WAIT_S)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing(errno.ENOSPC))
        with pytest.raises(DiskFull, match=r"2\.wal"):
            log.cut(first)
    log.cut(first)
    assert [path.name for path in tmp_path.glob("*.wal")] == ["1.wal"]
    second = log.append(insert(2)).result(WAIT_S)
    log.close()
    assert second >> 32 == 2
    assert replayed(tmp_path) == [(first, 1), (second, 2)]


def test_a_fault_outside_the_system_calls_reaches_those_who_wait_and_leaves_no_byte(
    log: WriteAheadLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log.append(insert(1)).result(WAIT_S)

    def no_memory(_: int) -> None:
        raise MemoryError("none left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", no_memory)
        with pytest.raises(MemoryError, match="none left"):
            log.append(insert(2)).result(WAIT_S)
    third = log.append(insert(3)).result(WAIT_S)
    log.close()
    assert replayed(tmp_path / "wal") == [(first, 1), (third, 3)]


def test_a_really_full_disk_refuses_the_large_record_and_takes_small_ones(small_disk: Path) -> None:
    log = WriteAheadLog.open(small_disk)
    assert list(log.replay()) == []
    first = log.append(insert(1)).result(WAIT_S)
    for _ in range(2):
        with pytest.raises(DiskFull, match=r"no room for \d+ bytes in .*1\.wal"):
            log.append(insert(2, rows=200_000)).result(WAIT_S)
    third = log.append(insert(3)).result(WAIT_S)
    log.close()
    assert replayed(small_disk) == [(first, 1), (third, 3)]


def test_a_log_on_a_full_disk_opens_and_can_be_cut(small_disk: Path) -> None:
    log = WriteAheadLog.open(small_disk, WalOptions(file_bytes=100_000))
    assert list(log.replay()) == []
    lsns = [log.append(insert(value, rows=5000)).result(WAIT_S) for value in range(8)]
    log.close()
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize))
    again = WriteAheadLog.open(small_disk)
    assert [lsn for lsn, _ in again.replay()] == lsns
    with pytest.raises(DiskFull):
        again.append(insert(9, rows=5000)).result(WAIT_S)
    again.cut(lsns[-2])
    last = again.append(insert(9, rows=5000)).result(WAIT_S)
    again.close()
    assert [lsn for lsn, _ in replayed(small_disk)] == [lsns[-1], last]


# --- sudden death --------------------------------------------------------------------------------------------


def test_whatever_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for lines in range(1, 120, 6):
        program = [sys.executable, "-c", APPENDER, str(tmp_path)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged |= {int(process.stdout.readline()) for _ in range(lines)}
            process.send_signal(signal.SIGKILL)
            acknowledged |= {int(line) for line in process.stdout if line.endswith("\n")}
        found = replayed(tmp_path)
        lsns = [lsn for lsn, _ in found]
        assert lsns == sorted(set(lsns))
        assert acknowledged <= set(lsns)
        assert {value for _, value in found} <= {0, 1, 2, 3}
