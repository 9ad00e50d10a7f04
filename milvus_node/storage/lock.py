"""The lock that writable nodes hold on a folder: an fcntl record lock, the kind a Milvus 1.x server takes.

One that nobody may share keeps every other program away. Nodes that elect a leader among themselves share theirs: it
keeps away a Milvus server, and a node that elects nobody, and lets a standby be there while a stopped leader lives.

The kernel frees it when the process dies, however it dies. It is an open-file-description lock, so a second attempt
inside the same process fails too. The lock file stays empty; who holds it is written in ``<lock>.owner`` for people,
and proves nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from milvus_node.errors import FolderLocked
from milvus_node.storage.file_io import storage_errors

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_HELD = (errno.EAGAIN, errno.EACCES)


class FolderLock:
    """A held lock; made by ``acquire``, given back by ``release`` or the end of a ``with`` block."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, path: Path, *, shared: bool = False) -> FolderLock:
        """Lock the file ``path``, creating it, without waiting; ``shared`` with others that share it.

        Raises:
            FolderLocked: Another process, or this one, holds it, and does not share it or shall not.
            StorageError: The file cannot be opened or its file system knows no locks.
        """
        with storage_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK if shared else fcntl.F_WRLCK))
            except OSError as error:
                holder = _holder(path, fd)
                os.close(fd)
                if error.errno in _HELD:
                    raise FolderLocked(f"{path.parent} is locked by {holder}; stop it or use another folder") from error
                raise
        with suppress(OSError):
            _owner_path(path).write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        return cls(path, fd)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._fd is not None:
            with suppress(OSError):
                _owner_path(self.path).unlink()
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _owner_path(path: Path) -> Path:
    return path.with_name(path.name + ".owner")


def _request(kind: int = fcntl.F_WRLCK) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def _holder(path: Path, fd: int) -> str:
    """Who holds the lock: the kernel knows the process of a Milvus server's lock, the owner file that of ours."""
    with suppress(OSError):
        *_, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request()))
        if pid > 0:
            return f"process {pid}"
        return _owner_path(path).read_text().strip()
    return "another process"
