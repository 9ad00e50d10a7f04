from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.faults.fuse_folder import FuseFolder
from harness.waiting import eventually

_READ = "import sys; print('begun', flush=True); print(open(sys.argv[1]).read(), flush=True)"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "file").write_text("old")
    return folder


@pytest.fixture
def shown(tmp_path: Path, real: Path) -> Iterator[FuseFolder]:
    if missing := FuseFolder.missing():
        pytest.skip(missing)
    with FuseFolder(real, tmp_path / "shown", tmp_path) as folder:
        yield folder


def test_a_faulty_folder_without_a_fault_is_the_real_one(shown: FuseFolder, real: Path) -> None:
    made = shown.mountpoint / "a" / "b"
    made.mkdir(parents=True)
    with (made / "file.tmp").open("wb") as file:
        file.write(b"0123456789" * 100_000)
        file.flush()
        os.fsync(file.fileno())
        file.truncate(500_000)
    (made / "file.tmp").rename(made / "file")
    folder = os.open(made, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    assert (real / "a" / "b" / "file").read_bytes() == b"0123456789" * 50_000
    with (made / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[-3:] == b"789"
    assert [path.name for path in made.iterdir()] == ["file"]
    (made / "file").unlink()
    made.rmdir()
    assert not (real / "a" / "b").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_folder_that_fails_gives_its_error_until_it_is_healed(shown: FuseFolder, number: int) -> None:
    shown.fail(number)
    for use in ((shown.mountpoint / "file").read_text, (shown.mountpoint / "new").mkdir):
        with pytest.raises(OSError, match=os.strerror(number)) as raised:
            use()
        assert raised.value.errno == number
    shown.heal()
    assert (shown.mountpoint / "file").read_text() == "old"


def test_a_full_folder_can_be_read_but_not_written(shown: FuseFolder) -> None:
    shown.fill()
    for use in (lambda: (shown.mountpoint / "new").touch(), lambda: (shown.mountpoint / "file").write_text("more")):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            use()
    assert os.statvfs(shown.mountpoint).f_bavail == 0
    (shown.mountpoint / "file").read_text()
    shown.heal()
    (shown.mountpoint / "file").write_text("more")
    assert os.statvfs(shown.mountpoint).f_bavail > 0


def test_a_read_of_a_folder_that_hangs_ends_when_it_is_healed(shown: FuseFolder, real: Path) -> None:
    shown.hang()
    with _reader(shown.mountpoint / "file") as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "begun\n"
        (real / "file").write_text("new")
        shown.heal()
        assert reader.communicate(timeout=30)[0] == "new\n"


def test_a_fault_below_one_path_leaves_the_others_alone(shown: FuseFolder, real: Path) -> None:
    (real / "sick").mkdir()
    (real / "sick" / "file").write_text("sick")
    shown.fail(errno.EIO, under="sick")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (shown.mountpoint / "sick" / "file").read_text()
    assert (shown.mountpoint / "file").read_text() == "old"


def test_whoever_hangs_gets_an_error_when_the_folder_is_closed_and_nothing_stays_mounted(shown: FuseFolder) -> None:
    shown.hang()
    with _reader(shown.mountpoint / "file") as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "begun\n"
        shown.close()
        assert reader.wait(30) != 0
    mounted = Path("/proc/mounts").read_text(encoding="utf-8")
    assert str(shown.mountpoint) not in mounted
    eventually(lambda: not list(shown.mountpoint.iterdir()), 10, "what is left is an empty folder")


def _reader(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _READ, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
