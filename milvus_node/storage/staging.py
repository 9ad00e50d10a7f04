"""Files that appear whole or not at all: written under a temporary name, synced, renamed.

A crash leaves the old file or the new one, and perhaps a ``.tmp`` beside it, which the sweep removes. Several files
staged together share one folder sync; each appears atomically, all of them do not appear in one instant.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from milvus_node.storage.file_io import BytesLike, storage_errors, sync_folder, total_bytes, write_fully

_TEMPORARY = re.compile(r".+\.[0-9]+-[0-9a-f]{8}\.tmp")


def is_temporary(name: str) -> bool:
    """Is ``name`` one that Staging gives to unfinished files?"""
    return _TEMPORARY.fullmatch(name) is not None


class Staging:
    """A set of files on their way into ``folder``; what is not published when the block ends is removed.

    ``write`` and ``write_with`` raise DiskFull or StorageError. One thread uses a Staging.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._staged: list[tuple[Path, Path]] = []

    def write(self, name: str, buffers: Iterable[BytesLike], size: int = 0) -> os.stat_result:
        """Stage a file of ``buffers`` and return its state, which the rename will keep.

        ``size`` is that of buffers which do not exist yet: errors tell it.
        """
        temporary = self._stage(name)
        wanted = total_bytes(buffers) if isinstance(buffers, Sequence) else size
        with storage_errors(self._folder / name, wanted=wanted):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                end = 0
                for buffer in buffers:
                    end = write_fully(fd, [buffer], end)
                os.fsync(fd)
                return os.fstat(fd)
            finally:
                os.close(fd)

    def write_with(self, name: str, writer: Callable[[Path], object]) -> Path:
        """Stage the file that ``writer`` makes at the path it is given; what it raises, OSError apart, passes."""
        temporary = self._stage(name)
        with storage_errors(self._folder / name):
            writer(temporary)
            fd = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return temporary

    def publish(self) -> None:
        """Give the staged files their names, in the order they were staged, and make the names durable."""
        for temporary, path in self._staged:
            with storage_errors(path):
                temporary.replace(path)
        self._staged.clear()
        with storage_errors(self._folder):
            sync_folder(self._folder)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for temporary, _ in self._staged:
            with suppress(OSError):
                temporary.unlink()

    def _stage(self, name: str) -> Path:
        temporary = self._folder / f"{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        self._staged.append((temporary, self._folder / name))
        return temporary
