"""The folder of an embedded cluster: made ready, and held by one cluster at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mishards.errors import StartError
from mishards.local.cluster import ClusterOptions


@contextmanager
def held_folder(options: ClusterOptions) -> Iterator[None]:
    """Make the folder ready and keep every other cluster out of it; the kernel lets go when this process ends.

    Raises StartError where it cannot be written or another cluster holds it.
    """
    try:
        for part in options.folders:
            part.mkdir(parents=True, exist_ok=True)
            if not os.access(part, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(part))
        lock = (options.folder / "local.lock").open("a+", encoding="ascii")
    except OSError as error:
        where = error.filename or options.folder
        raise StartError(f"cannot write {where}: {_reason(error)}; choose another folder with --dir") from error
    with lock:
        _take(lock, options.folder)
        yield


def _take(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        raise StartError(
            f"folder {folder} is held by another cluster (process {holder}); stop that one or choose another with --dir"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
