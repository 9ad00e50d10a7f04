"""The process behind a faulty folder: passes calls on to a real folder, or does what the fault in a file says.

The file is read at each call, so that a fault holds from the moment at which it was written. Run as
``python -m harness.faults.fuse_program REAL MOUNTPOINT FAULT``; it ends when the folder is unmounted.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mfusepy

from harness.faults.fuse_fault import Fault, Kind

_PAUSE_S = 0.02
_STAT = ("st_atime_ns", "st_ctime_ns", "st_mtime_ns", "st_gid", "st_mode", "st_nlink", "st_size", "st_uid", "st_ino")
_STATVFS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")


class FaultyFolder(mfusepy.Operations):  # type: ignore[misc]  # has no hints
    """Each call passes ``_gate`` first; those that need room say so."""

    use_ns = True

    def __init__(self, real: Path, fault: Path) -> None:
        self._real = os.fspath(real)
        self._fault = fault

    def _gate(self, path: str, *, needs_room: bool = False) -> str:
        """Suffer the fault and return the path in the real folder. Raises OSError."""
        while (fault := Fault.decoded(self._fault.read_bytes())).covers(path) and fault.kind is Kind.HANG:
            time.sleep(_PAUSE_S)
        if fault.covers(path):
            if fault.kind is Kind.FAIL:
                raise OSError(fault.number, os.strerror(fault.number))
            if fault.kind is Kind.FULL and needs_room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if fault.kind is Kind.SLOW:
                time.sleep(fault.seconds)
        return self._real + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        real = self._gate(path)
        found = os.lstat(real) if fh is None else os.fstat(fh)
        return {name.removesuffix("_ns"): getattr(found, name) for name in _STAT}

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._gate(path))
        said = {name: getattr(found, name) for name in _STATVFS}
        full = Fault.decoded(self._fault.read_bytes()).kind is Kind.FULL
        return said | (dict.fromkeys(("f_bavail", "f_bfree"), 0) if full else {})

    def access(self, path: str, amode: int) -> int:
        if not os.access(self._gate(path), amode):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return 0

    def readdir(self, path: str, fh: int) -> Sequence[str]:
        return [".", "..", *os.listdir(self._gate(path))]  # noqa: PTH208 - names are what is asked for

    def readlink(self, path: str) -> str:
        return os.readlink(self._gate(path))  # noqa: PTH115 - a relative target stays one

    def open(self, path: str, flags: int) -> int:
        return os.open(self._gate(path), flags)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._gate(path, needs_room=True), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._gate(path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._gate(path, needs_room=True)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._gate(path), length)
        return 0

    def flush(self, path: str, fh: int) -> int:
        self._gate(path)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._gate(path)
        os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        folder = os.open(self._gate(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        Path(self._gate(path, needs_room=True)).mkdir(mode)
        return 0

    def rmdir(self, path: str) -> int:
        Path(self._gate(path)).rmdir()
        return 0

    def unlink(self, path: str) -> int:
        Path(self._gate(path)).unlink()
        return 0

    def rename(self, old: str, new: str) -> int:
        Path(self._gate(old)).rename(self._real + new)
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._real + source, self._gate(target, needs_room=True))
        return 0

    def symlink(self, target: str, source: str) -> int:
        Path(self._gate(target, needs_room=True)).symlink_to(source)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        Path(self._gate(path)).chmod(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._gate(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        if times is None:
            os.utime(self._gate(path))
        else:
            os.utime(self._gate(path), ns=times)
        return 0


def main(real: str, mountpoint: str, fault: str) -> None:
    """Serve the folder until it is unmounted; neither names nor attributes are remembered by the kernel."""
    operations = FaultyFolder(Path(real), Path(fault))
    mfusepy.FUSE(operations, mountpoint, foreground=True, attr_timeout=0, entry_timeout=0, negative_timeout=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
