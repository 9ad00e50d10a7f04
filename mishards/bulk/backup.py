"""A backup: a collection in a folder, each part with its checksum; resumable, and refused where it is damaged.

The folder holds ``manifest.json`` and ``part-NNNNN.npz`` (arrays ``ids`` and ``vectors``). The manifest says what the
collection is, lists the parts with their SHA-256, and has a checksum of itself. It is written anew after every part, so
that a backup that was interrupted goes on behind the last whole one, with the ids that were listed when it began.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mishards.bulk.export import existing
from mishards.bulk.interrupt import stop_signal
from mishards.bulk.journal import sync_folder
from mishards.bulk.listing import Listed, count_repeated, fetch, list_ids, read_ids
from mishards.bulk.progress import Advance, shown
from mishards.bulk.remote import Index, Remote, Schema, connected
from mishards.errors import DamagedBackup, ResumeError
from mishards.kinds import IndexType, MetricType

MANIFEST = "manifest.json"
_LISTING = "listing.ids"
_FORM = 1
_PART_BYTES = 64 << 20
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupPart:
    """One file of rows of one partition."""

    file: str
    partition: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    schema: Schema
    index: Index
    listed: tuple[Listed, ...]
    """The partitions, and where in the listing their ids were."""
    part_rows: int
    parts: tuple[BackupPart, ...] = ()
    repeated_ids: int = 0
    complete: bool = False

    @property
    def rows(self) -> int:
        """Rows in the parts."""
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True, slots=True)
class BackedUp:
    """How a backup ended."""

    collection: str
    folder: str
    rows: int
    parts: int
    gone: int
    """Rows that were deleted while it ran."""
    repeated_ids: int
    """As in ``Exported``."""
    finished: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What a user decides about a backup."""

    collection: str
    folder: Path
    address: str
    part_rows: int | None = None


async def run_backup(options: BackupOptions, console: Console, *, quiet: bool = False) -> BackedUp:
    """Back a collection up, or go on with a backup that was interrupted.

    Raises:
        ResumeError: the folder holds another backup, or a whole one.
        BulkError: it cannot be done.
        NodeError: the server does not answer.
    """
    began, folder = time.monotonic(), options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with stop_signal() as stop:
        async with connected(options.address) as remote:
            schema = await existing(remote, options.collection)
            manifest = await _begun(remote, schema, options)
            total = sum(part.rows for part in manifest.listed)
            with shown(console, f"backing up {schema.name}", total, quiet=quiet) as advance:
                manifest = await _write_parts(remote, manifest, folder, advance, stop)
    done = not stop.is_set() or len(manifest.parts) == len(_plan(manifest))
    if done:
        manifest = replace(manifest, complete=True)
        write_manifest(folder, manifest)
        (folder / _LISTING).unlink(missing_ok=True)
    gone = sum(part.rows for part in manifest.listed) - manifest.rows if done else 0
    seconds = time.monotonic() - began
    return BackedUp(
        schema.name, str(folder), manifest.rows, len(manifest.parts), gone, manifest.repeated_ids, done, seconds
    )


async def _begun(remote: Remote, schema: Schema, options: BackupOptions) -> Manifest:
    folder = options.folder
    if (folder / MANIFEST).exists():
        found = read_manifest(folder)
        if found.complete:
            raise ResumeError(f"{folder} holds a whole backup of {found.schema.name}; name another folder")
        if found.schema != schema:
            raise ResumeError(f"{folder} holds the beginning of a backup of another collection, {found.schema.name}")
        return found
    if any(folder.iterdir()):
        raise ResumeError(f"{folder} is not empty and holds no backup; name another folder")
    listed = await list_ids(remote, schema, folder / _LISTING)
    part_rows = options.part_rows or max(1, _PART_BYTES // schema.metric.vector_bytes(schema.dimension))
    repeated = count_repeated(folder / _LISTING, listed)
    index = await remote.index(schema.name)
    manifest = Manifest(schema, index, tuple(listed), part_rows, repeated_ids=repeated)
    write_manifest(folder, manifest)
    return manifest


def _plan(manifest: Manifest) -> list[Listed]:
    """The parts to write: a partition's tag, and which ids of the listing."""
    return [
        Listed(listed.tag, listed.first + at, min(manifest.part_rows, listed.rows - at))
        for listed in manifest.listed
        for at in range(0, listed.rows, manifest.part_rows)
    ]


async def _write_parts(
    remote: Remote, manifest: Manifest, folder: Path, advance: Advance, stop: asyncio.Event
) -> Manifest:
    advance(manifest.rows)
    for number, planned in enumerate(_plan(manifest)):
        if number < len(manifest.parts):
            continue
        if stop.is_set():
            break
        ids = read_ids(folder / _LISTING, planned.first, planned.rows)
        found: list[tuple[Any, Any]] = []
        async for rows in fetch(remote, manifest.schema, planned.tag, ids):
            found.append(rows)
            advance(len(rows[0]))
        part = await asyncio.to_thread(_write_part, folder, number, planned.tag, found)
        manifest = replace(manifest, parts=(*manifest.parts, part))
        write_manifest(folder, manifest)
    return manifest


def _write_part(folder: Path, number: int, tag: str, found: list[tuple[Any, Any]]) -> BackupPart:
    path = folder / f"part-{number:05}.npz"
    ids, vectors = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    with path.open("wb") as stream:
        np.savez(stream, ids=ids, vectors=vectors)
        stream.flush()
        os.fsync(stream.fileno())
    return BackupPart(path.name, tag, len(ids), _checksum(path))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a backup; durable when it returns."""
    content = {"form": _FORM, **asdict(manifest)}
    whole = {**content, "sha256": _content_checksum(content)}
    written = folder / f".{MANIFEST}.part"
    with written.open("w", encoding="utf-8") as stream:
        json.dump(whole, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    written.replace(folder / MANIFEST)
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        DamagedBackup: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("sha256") != _content_checksum(content) or content.pop("form") != _FORM:
            raise ValueError("its checksum or form is another")
        schema = {**content.pop("schema")}
        index = content.pop("index")
        return Manifest(
            schema=Schema(**{**schema, "metric": MetricType(schema["metric"])}),
            index=Index(IndexType(index["type"]), index["params"]),
            listed=tuple(Listed(**listed) for listed in content.pop("listed")),
            parts=tuple(BackupPart(**part) for part in content.pop("parts")),
            **content,
        )
    except FileNotFoundError:
        raise DamagedBackup(f"{folder} holds no backup: there is no {MANIFEST}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedBackup(f"{path} is damaged: {error}") from error


def _content_checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while data := stream.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def verify(folder: Path) -> Manifest:
    """Read every byte of a backup; its manifest when all of it is as it was written.

    Raises:
        DamagedBackup: it is not whole; the message names every part that is missing or another.
    """
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise DamagedBackup(f"the backup in {folder} was not finished; run the same backup again to finish it")
    problems = []
    for part in manifest.parts:
        path = folder / part.file
        if not path.exists():
            problems.append(f"{part.file} is missing")
        elif _checksum(path) != part.sha256:
            problems.append(f"{part.file} has another checksum")
    if problems:
        raise DamagedBackup(f"the backup in {folder} is damaged: {', '.join(problems)}")
    return manifest
