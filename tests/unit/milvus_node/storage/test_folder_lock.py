from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from milvus_node.errors import FolderLocked, StorageError
from milvus_node.storage.lock import FolderLock

HOLDER = """
import sys
from pathlib import Path
from milvus_node.storage.lock import FolderLock
lock = FolderLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

OTHER_SERVER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def holder(program: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("program", [HOLDER, OTHER_SERVER])
def test_a_folder_that_another_process_holds_names_it_until_it_is_killed(tmp_path: Path, program: str) -> None:
    with holder(program, tmp_path / "lock") as process:
        with pytest.raises(FolderLocked, match=rf"{tmp_path} is locked by process {process.pid}\b"):
            FolderLock.acquire(tmp_path / "lock")
        process.kill()
    with FolderLock.acquire(tmp_path / "lock"):
        assert (tmp_path / "lock").read_bytes() == b""


def test_a_server_that_locks_by_record_is_kept_out(tmp_path: Path) -> None:
    with FolderLock.acquire(tmp_path / "lock"):
        result = subprocess.run(
            [sys.executable, "-c", OTHER_SERVER, str(tmp_path / "lock")], capture_output=True, text=True, input=""
        )
    assert "BlockingIOError" in result.stderr


def test_the_same_process_cannot_lock_twice_and_closing_the_second_frees_nothing(tmp_path: Path) -> None:
    with FolderLock.acquire(tmp_path / "lock"):
        for _ in range(2):
            with pytest.raises(FolderLocked, match=f"process {os.getpid()} on "):
                FolderLock.acquire(tmp_path / "lock")
    FolderLock.acquire(tmp_path / "lock").release()


def test_release_may_be_repeated(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path / "lock")
    lock.release()
    lock.release()
    assert not (tmp_path / "lock.owner").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        FolderLock.acquire(tmp_path / "absent" / "lock")


def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    with pytest.raises(StorageError, match="No locks available"):
        FolderLock.acquire(tmp_path / "lock")
