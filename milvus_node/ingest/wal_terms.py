"""The logs of earlier terms: every node that leads writes a log of its own, below one root.

    <root>/<number>.wal             a log of a version without terms, older than all others
    <root>/<epoch>/                 being written
    <root>/<epoch>.closed/          its writer was succeeded and can begin no further file
    <root>/<epoch>.closed.<lsn>/    a successor has read it; what comes behind this LSN does not count

A writer that was succeeded may wake up and append: to a file that it has open, behind what was acknowledged. It cannot
begin another one, since its folder bears another name, and nobody makes the old one again.

Invariant: a folder goes only when all that counts in it is in segments that the catalog names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from milvus_node.ingest.wal_format import Record, lsn_of
from milvus_node.ingest.wal_recovery import Recovery
from milvus_node.storage.file_io import make_folder, storage_errors, sync_folder
from milvus_node.storage.staging import is_temporary

_log = logging.getLogger(__name__)

_FOLDER = re.compile(r"(?P<epoch>[0-9]+)(?P<closed>\.closed(\.(?P<end>[0-9]+))?)?")
_OF_A_LOG = frozenset({"lock", "lock.owner"})


def term_folder(root: Path, epoch: int) -> Path:
    """Where the log of a term is written."""
    return root / str(epoch)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A log of an earlier term; ``end`` is the LSN up to which it counts, None while nobody has read it."""

    folder: Path
    epoch: int
    is_closed: bool
    end: int | None


class EarlierLogs:
    """The logs below ``root`` from before the term of ``epoch``. Used by one thread at a time."""

    def __init__(self, root: Path, epoch: int, *, ignore_damage: bool) -> None:
        """Close every one of them; StorageError when that is impossible."""
        self._root = root
        self._ignore_damage = ignore_damage
        with storage_errors(root):
            make_folder(root)
            self._logs = [self._closed(log) for log in _found(root, epoch)]
            sync_folder(root)
        self.last_lsn = 0
        """The highest LSN in them; known once ``records`` is exhausted."""

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield (LSN, record) of all logs, oldest first. Raises LogDamaged as ``Recovery.records`` does."""
        yield from self._records_of(self._root, None)
        for position, log in enumerate(self._logs):
            before = self.last_lsn
            yield from self._records_of(log.folder, log.end)
            if log.end is None:
                end = self.last_lsn if self.last_lsn > before else 0
                self._logs[position] = self._renamed(log, f"{log.epoch}.closed.{end}", end)

    def _records_of(self, folder: Path, end: int | None) -> Iterator[tuple[int, Record]]:
        recovery = Recovery(folder, ignore_damage=self._ignore_damage, until=end, repair=False)
        yield from recovery.records()
        if recovery.sizes:
            self.last_lsn = max(self.last_lsn, lsn_of(*max(recovery.sizes.items())))

    def remove(self) -> None:
        """Remove them all; StorageError when that is impossible. May be repeated."""
        _remove_logs(self._root, whole=False)
        for log in self._logs:
            _remove_logs(log.folder, whole=True)
        self._logs = []

    def _closed(self, log: _Earlier) -> _Earlier:
        if log.is_closed:
            return log
        return replace(self._renamed(log, f"{log.epoch}.closed", None), is_closed=True)

    def _renamed(self, log: _Earlier, name: str, end: int | None) -> _Earlier:
        with storage_errors(log.folder):
            folder = log.folder.rename(self._root / name)
            sync_folder(self._root)
        return replace(log, folder=folder, end=end)


def _found(root: Path, before: int) -> list[_Earlier]:
    """The logs of terms before the epoch, oldest first."""
    logs = []
    for path in root.iterdir():
        match = _FOLDER.fullmatch(path.name)
        if match and path.is_dir() and int(match["epoch"]) < before:
            end = None if match["end"] is None else int(match["end"])
            logs.append(_Earlier(path, int(match["epoch"]), match["closed"] is not None, end))
    return sorted(logs, key=lambda log: log.epoch)


def _remove_logs(folder: Path, *, whole: bool) -> None:
    """Remove the log files of a folder; ``whole``: and itself, unless something unknown is in it."""
    with storage_errors(folder), suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            is_log = path.suffix == ".wal" and path.stem.isdecimal()
            if is_log or (whole and (path.name in _OF_A_LOG or is_temporary(path.name))):
                path.unlink(missing_ok=True)
        sync_folder(folder)
    if whole:
        with suppress(OSError):
            folder.rmdir()
