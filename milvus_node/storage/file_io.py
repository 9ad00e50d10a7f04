"""File primitives: whole reads, whole writes, folder syncs, and OSError as an error of the node.

Knows no segment and no log. Files are read, never mapped: a storage fault must arrive as an exception, not as SIGBUS.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from milvus_node.errors import DiskFull, StorageError

BytesLike: TypeAlias = "bytes | memoryview"

_MAX_BUFFERS = os.sysconf("SC_IOV_MAX")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors(path: Path, *, wanted: int = 0) -> Iterator[None]:
    """Turn an OSError of the block into DiskFull or StorageError, naming ``path`` and, if known, the bytes wanted."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, wanted=wanted) from error


def storage_error(error: OSError, path: Path, *, wanted: int = 0) -> StorageError:
    """The node's error for ``error`` at ``path``."""
    if error.errno in _NO_ROOM:
        size = f" for {wanted} bytes" if wanted else ""
        return DiskFull(f"no room{size} in {path} ({error.strerror}); free space or enlarge the volume")
    return StorageError(f"{path}: {error.strerror or error}")


def bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """The bytes of ``array``, row by row: a view when it is C-contiguous, else of a copy."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def total_bytes(buffers: Iterable[BytesLike]) -> int:
    """The sizes of ``buffers``, which are flat bytes, added up."""
    return sum(len(buffer) for buffer in buffers)


def write_fully(fd: int, buffers: Sequence[BytesLike], offset: int) -> int:
    """Write ``buffers`` (flat bytes) one after the other from ``offset`` on, without copying them.

    Returns:
        The offset behind the last byte.

    Raises:
        OSError: As the system says; a part may have been written.
    """
    views = [memoryview(buffer) for buffer in buffers if len(buffer)]
    first = 0
    while first < len(views):
        written = os.pwritev(fd, views[first : first + _MAX_BUFFERS], offset)
        offset += written
        while first < len(views) and written >= len(views[first]):
            written -= len(views[first])
            first += 1
        if written:
            views[first] = views[first][written:]
    return offset


def read_fully(fd: int, into: npt.NDArray[np.uint8], offset: int) -> int:
    """Fill ``into`` from ``offset`` on and return the bytes read: fewer only at the end of the file."""
    view = into.data
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and what is missing above it, durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
