"""Removal of what no one names any more: orphan segment folders, orphan index files, unfinished temporary files.

``removals`` decides, from a listing alone; ``sweep`` lists and removes. Only names that this storage gives to its own
files are ever removed: a file that is not recognised stays, and so does the folder around it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from milvus_node.errors import StorageError
from milvus_node.storage.checksums import SUFFIX
from milvus_node.storage.file_io import storage_errors
from milvus_node.storage.layout import StorageLayout
from milvus_node.storage.names import BLOOM_FILTER, IDS_SUFFIX, OWED, VECTORS_SUFFIX, checked_name, is_tombstones
from milvus_node.storage.staging import is_temporary

_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of a segment folder; ``modified`` is in seconds since the epoch."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """A segment folder as found; ``foreign`` counts entries that are not regular files."""

    table_id: str
    segment_id: str
    modified: float
    files: tuple[ListedFile, ...]
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """Files to remove from one segment folder, and whether the folder goes as well."""

    segment: ListedSegment
    files: tuple[ListedFile, ...]
    folder: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed."""

    folders: int = 0
    files: int = 0
    size: int = 0


FileKey = tuple[str, str, str]


def removals(found: Iterable[ListedSegment], named: Collection[FileKey], before: float) -> Iterator[Removal]:
    """Decide what goes: recognised, not in ``named`` (table, segment, file id), and not modified since ``before``.

    A segment with any named file keeps its raw files.
    """
    named_segments = {(table_id, segment_id) for table_id, segment_id, _ in named}
    for segment in found:
        if (segment.table_id, segment.segment_id) in named_segments:
            files = tuple(
                file
                for file in segment.files
                if file.modified < before and _is_orphan_in_named(segment, file.name, named)
            )
            if files:
                yield Removal(segment, files, folder=False)
        elif max([segment.modified, *(file.modified for file in segment.files)]) < before:
            files = tuple(file for file in segment.files if _is_recognised(segment.segment_id, file.name))
            whole = len(files) == len(segment.files) and not segment.foreign
            if files or whole:
                yield Removal(segment, files, folder=whole)


def _is_recognised(segment_id: str, name: str) -> bool:
    """Does this storage give ``name`` to a file of the segment?"""
    data = name.removesuffix(SUFFIX)
    raw = (segment_id + VECTORS_SUFFIX, segment_id + IDS_SUFFIX, BLOOM_FILTER, OWED)
    return data in raw or is_tombstones(data) or _DIGITS.fullmatch(data) is not None or is_temporary(name)


def _is_orphan_in_named(segment: ListedSegment, name: str, named: Collection[FileKey]) -> bool:
    """Is ``name`` unfinished, or an index that no one names, in a segment that someone names?"""
    data = name.removesuffix(SUFFIX)
    if _DIGITS.fullmatch(data):
        return (segment.table_id, segment.segment_id, data) not in named
    return is_temporary(name)


def sweep(
    layout: StorageLayout,
    names: Callable[[], Collection[FileKey]],
    in_progress: Callable[[str, str], bool],
    *,
    now: float,
    grace_s: float,
) -> Swept:
    """Remove what ``removals`` decides for the whole of ``layout``, and table folders left empty.

    ``names`` says what is named, and is asked after everything was listed: what comes later is not touched. So it must
    know whatever was recorded until then; where another writer may have taken over, it must find that out and raise.
    A segment for which ``in_progress(table_id, segment_id)`` is true is left alone altogether. ``now`` is in seconds
    since the epoch. StorageError ends the sweep; files that someone else removed meanwhile are no error.
    """
    before = now - grace_s
    with storage_errors(layout.tables_path):
        tables = [(path, path.stat().st_mtime) for path in _folders(layout.tables_path)]
    listed = [segment for path, _ in tables for segment in _listed(path)]
    named = names()
    idle = [segment for segment in listed if not in_progress(segment.table_id, segment.segment_id)]
    folders = files = size = 0
    for removal in removals(idle, named, before):
        _remove(layout, removal)
        folders += removal.folder
        files += len(removal.files)
        size += sum(file.size for file in removal.files)
    named_tables = {table_id for table_id, _, _ in named}
    for path, modified in tables:
        if modified < before and path.name not in named_tables:
            _remove_if_empty(path)
    return Swept(folders, files, size)


def _remove(layout: StorageLayout, removal: Removal) -> None:
    path = layout.table_path(removal.segment.table_id) / removal.segment.segment_id
    for file in removal.files:
        with storage_errors(path / file.name):
            (path / file.name).unlink(missing_ok=True)
    if removal.folder:
        _remove_if_empty(path)


def _listed(table_path: Path) -> Iterator[ListedSegment]:
    for path in _folders(table_path):
        with storage_errors(path), suppress(FileNotFoundError):
            modified = path.stat().st_mtime
            with os.scandir(path) as entries:
                present = list(entries)
            regular = [entry for entry in present if entry.is_file(follow_symlinks=False)]
            files = tuple(ListedFile(e.name, e.stat().st_size, e.stat().st_mtime) for e in regular)
            yield ListedSegment(table_path.name, path.name, modified, files, len(present) - len(regular))


def _folders(parent: Path) -> list[Path]:
    """The folders in ``parent`` whose names are ids; none when it does not exist."""
    with storage_errors(parent), suppress(FileNotFoundError), os.scandir(parent) as entries:
        return sorted(
            Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False) and _is_id(entry.name)
        )
    return []


def _is_id(name: str) -> bool:
    with suppress(StorageError):
        return bool(checked_name("folder", name))
    return False


def _remove_if_empty(path: Path) -> None:
    """Remove the folder unless something is, or has just come, in it."""
    with suppress(OSError):
        path.rmdir()
