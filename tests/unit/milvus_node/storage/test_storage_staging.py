from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from milvus_node.errors import DiskFull, StorageError
from milvus_node.storage import file_io
from milvus_node.storage.staging import Staging, is_temporary


def test_staged_files_appear_with_publish_and_not_before(tmp_path: Path) -> None:
    with Staging(tmp_path) as staging:
        staging.write("a", [b"one", b"", memoryview(b"two")])
        staging.write_with("b", lambda path: path.write_bytes(b"three"))
        assert all(is_temporary(path.name) for path in tmp_path.iterdir())
        staging.publish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"onetwo", "b": b"three"}


def test_what_is_not_published_is_removed(tmp_path: Path) -> None:
    with Staging(tmp_path) as staging:
        staging.write("a", [b"one"])
    assert list(tmp_path.iterdir()) == []


def test_a_published_file_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with Staging(tmp_path) as staging:
        state = staging.write("a", [b"new"])
        assert (tmp_path / "a").read_bytes() == b"old"
        staging.publish()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mtime_ns == state.st_mtime_ns


def test_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Staging(tmp_path) as staging:
            staging.write("a", [b"one"])
            staging.publish()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_path_and_bytes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(DiskFull, match=rf"no room for 9 bytes in {tmp_path}/a "), Staging(tmp_path) as staging:
        staging.write("a", [b"123456789"])
    assert list(tmp_path.iterdir()) == []


def test_another_fault_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error") as raised, Staging(tmp_path) as staging:
        staging.write("a", [b"1"])
    assert not isinstance(raised.value, DiskFull)
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(DiskFull), Staging(small_disk) as staging:
        staging.write("a", [bytes(3 << 20)])
    assert list(small_disk.iterdir()) == []


def test_files_are_synced_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_replace = Path.replace

    def replace(path: Path, to: Path) -> Path:
        steps.append("rename")
        return real_replace(path, to)

    monkeypatch.setattr(os, "fsync", lambda fd: steps.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    monkeypatch.setattr(Path, "replace", replace)
    with Staging(tmp_path) as staging:
        staging.write("a", [b"1"])
        staging.publish()
    assert is_temporary(Path(steps[0]).name)
    assert steps[1:] == ["rename", str(tmp_path)]


def test_writes_that_the_system_cuts_short_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, views, offset: pwritev(fd, [b"".join(views)[:7]], offset))
    buffers = [bytes([value]) * (value % 5) for value in range(40)]
    with (tmp_path / "a").open("wb") as file:
        assert file_io.write_fully(file.fileno(), buffers, 3) == 3 + sum(map(len, buffers))
    assert (tmp_path / "a").read_bytes() == b"\0\0\0" + b"".join(buffers)


def test_more_buffers_than_one_call_takes_are_written(tmp_path: Path) -> None:
    buffers = [value.to_bytes(2, "little") for value in range(5000)]
    with (tmp_path / "a").open("wb") as file:
        file_io.write_fully(file.fileno(), buffers, 0)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a", np.uint16), np.arange(5000))


def test_missing_folders_are_made_and_their_names_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(file_io, "sync_folder", synced.append)
    file_io.make_folder(tmp_path / "db" / "tables" / "words")
    file_io.make_folder(tmp_path / "db" / "tables" / "words")
    assert (tmp_path / "db" / "tables" / "words").is_dir()
    assert synced == [tmp_path, tmp_path / "db", tmp_path / "db" / "tables"]
