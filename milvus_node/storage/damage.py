"""Segments whose raw files were found damaged: named, and not read again before their files change.

A damaged file stays damaged, so reading it again, in full, with every search and every round of merging, only costs.
What is remembered lasts as long as the files' sizes and times do, or until ``forget``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from milvus_node.errors import SegmentDamaged

log = logging.getLogger(__name__)

_State = frozenset[tuple[str, int, int, int]]


class DamagedSegments:
    """The damage found in one storage. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Path, tuple[_State, str]] = {}

    @contextmanager
    def watch(self, folder: Path) -> Iterator[None]:
        """Read raw files of the segment in ``folder`` in the block; what is known to be damaged is not read again.

        Raises:
            SegmentDamaged: the files are damaged, as was known or as the block found.
        """
        text = self._known(folder)
        if text is not None:
            raise SegmentDamaged(text)
        before = _state(folder)
        try:
            yield
        except SegmentDamaged as error:
            with self._lock:
                self._found[folder] = before, str(error)
            log.error("segment %s is left alone until its files change: %s", folder, error)
            raise

    def has(self, folder: Path) -> bool:
        """Are the files in ``folder`` known to be damaged, and still the same?"""
        return self._known(folder) is not None

    @property
    def texts(self) -> list[str]:
        """What is damaged, as errors say it."""
        return [text for folder in list(self._found) if (text := self._known(folder)) is not None]

    def forget(self) -> None:
        """Read everything again when it is asked for."""
        with self._lock:
            self._found.clear()

    def _known(self, folder: Path) -> str | None:
        found = self._found.get(folder)
        if found is None:
            return None
        if found[0] == _state(folder):
            return found[1]
        with self._lock:
            if self._found.get(folder) is found:
                del self._found[folder]
        return None


def _state(folder: Path) -> _State:
    """Names, inodes, sizes and times of the files in ``folder``."""
    states = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat()
                states.append((entry.name, found.st_ino, found.st_size, found.st_mtime_ns))
    return frozenset(states)
