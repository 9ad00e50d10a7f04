"""Rows of a collection in a folder, part by part, each with its checksum: a backup, or what an export collects first.

The folder holds ``manifest.json`` and ``part-NNNNN.npz`` (arrays ``ids`` and ``vectors``). The manifest says what the
collection is, lists the parts with their SHA-256, and has a checksum of itself. It is written anew after every part, so
that work that was interrupted goes on behind the last whole one, with the ids that were listed when it began. The open
folder is locked, so that no two share one.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mishards.bulk.journal import sync_folder
from mishards.bulk.listing import Listed, count_repeated, fetch, list_ids, read_ids
from mishards.bulk.progress import Advance
from mishards.bulk.remote import Index, Remote, Schema
from mishards.errors import CollectionNotFound, DamagedBackup, ResumeError
from mishards.kinds import IndexType, MetricType

MANIFEST = "manifest.json"
LISTING = "listing.ids"
_FORM = 1
_PART_BYTES = 64 << 20
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of rows of one partition."""

    file: str
    partition: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the folder holds, and shall hold in the end."""

    schema: Schema
    index: Index
    listed: tuple[Listed, ...]
    """The partitions, and where in the listing their ids were."""
    part_rows: int
    parts: tuple[FilePart, ...] = ()
    repeated_ids: int = 0
    complete: bool = False
    tags: tuple[str, ...] = ()
    """The partitions that were asked for; none are all."""

    @property
    def gone(self) -> int:
        """Rows that were deleted between listing and fetching, once all parts are there."""
        return sum(part.rows for part in self.listed) - self.rows

    @property
    def rows(self) -> int:
        """Rows in the parts."""
        return sum(part.rows for part in self.parts)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing, and keep others from it.

    Raises:
        ResumeError: another process works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ResumeError(f"{folder} is in use by another process; wait for it, or name another") from None
    finally:
        os.close(descriptor)


async def existing(remote: Remote, name: str) -> Schema:
    """What a collection is. Raises CollectionNotFound."""
    schema = await remote.schema(name)
    if schema is None:
        raise CollectionNotFound(name)
    return schema


async def begin(
    remote: Remote, schema: Schema, folder: Path, part_rows: int | None, tags: Sequence[str] = ()
) -> Manifest:
    """List the rows of all partitions, or of some, into an empty folder; the manifest says what is to be fetched.

    Raises:
        BulkError: the rows cannot be listed.
    """
    listed = await list_ids(remote, schema, folder / LISTING, tags)
    repeated = count_repeated(folder / LISTING, listed)
    rows = part_rows or max(1, _PART_BYTES // schema.metric.vector_bytes(schema.dimension))
    manifest = Manifest(
        schema, await remote.index(schema.name), tuple(listed), rows, repeated_ids=repeated, tags=tuple(tags)
    )
    write_manifest(folder, manifest)
    return manifest


def planned(manifest: Manifest) -> list[Listed]:
    """The parts to write: a partition's tag, and which ids of the listing."""
    return [
        Listed(listed.tag, listed.first + at, min(manifest.part_rows, listed.rows - at))
        for listed in manifest.listed
        for at in range(0, listed.rows, manifest.part_rows)
    ]


async def write_parts(
    remote: Remote, manifest: Manifest, folder: Path, advance: Advance, stop: asyncio.Event
) -> Manifest:
    """Fetch the parts that are not there yet, until all are there or ``stop`` is set; the manifest of what is.

    Raises:
        BulkError, NodeError: a part cannot be fetched; the ones before it stay.
    """
    advance(manifest.rows)
    for number, wanted in enumerate(planned(manifest)):
        if number < len(manifest.parts):
            continue
        if stop.is_set():
            break
        ids = read_ids(folder / LISTING, wanted.first, wanted.rows)
        found: list[tuple[Any, Any]] = []
        async for rows in fetch(remote, manifest.schema, wanted.tag, ids):
            found.append(rows)
            advance(len(rows[0]))
        part = await asyncio.to_thread(_write_part, folder, number, wanted.tag, found)
        manifest = replace(manifest, parts=(*manifest.parts, part))
        write_manifest(folder, manifest)
    return manifest


def _write_part(folder: Path, number: int, tag: str, found: list[tuple[Any, Any]]) -> FilePart:
    path = folder / f"part-{number:05}.npz"
    ids, vectors = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    with path.open("wb") as stream:
        np.savez(stream, ids=ids, vectors=vectors)
        stream.flush()
        os.fsync(stream.fileno())
    return FilePart(path.name, tag, len(ids), _checksum(path))


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
            parts=tuple(FilePart(**part) for part in content.pop("parts")),
            tags=tuple(content.pop("tags", ())),
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
