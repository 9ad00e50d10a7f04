"""The lock that keeps a second writable server off a storage folder."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path


class FolderLock:
    """``<storage>/lock``, held while the object is open; a process that dies gives it up.

    It is a POSIX record lock as the real server's is, but bound to the open file (Linux), so that two nodes of one
    process exclude each other too.
    """

    def __init__(self, storage: Path) -> None:
        """Take the lock.

        Raises:
            RuntimeError: in the real server's words when somebody else has it.
        """
        path = storage / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, whole_file)
        except OSError as error:
            os.close(self._descriptor)
            text = f"rw instance lock db path failed.Can't lock file: {path}, due to permission denied."
            raise RuntimeError(text) from error

    def close(self) -> None:
        """Give the lock up."""
        os.close(self._descriptor)
