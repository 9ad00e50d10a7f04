"""A backup: a collection in a folder of parts with checksums; resumable, and refused where it is damaged."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from mishards.bulk.interrupt import stop_signal
from mishards.bulk.parts import (
    LISTING,
    MANIFEST,
    Manifest,
    begin,
    existing,
    held,
    planned,
    read_manifest,
    write_manifest,
    write_parts,
)
from mishards.bulk.progress import shown
from mishards.bulk.remote import Remote, Schema, connected
from mishards.errors import ResumeError


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
        ResumeError: the folder holds another backup, or a whole one, or another process works in it.
        BulkError: it cannot be done.
        NodeError: the server does not answer.
    """
    began, folder = time.monotonic(), options.folder
    with stop_signal() as stop, held(folder):
        async with connected(options.address) as remote:
            schema = await existing(remote, options.collection)
            manifest = await _begun(remote, schema, options)
            total = sum(part.rows for part in manifest.listed)
            with shown(console, f"backing up {schema.name}", total, quiet=quiet) as advance:
                manifest = await write_parts(remote, manifest, folder, advance, stop)
        done = len(manifest.parts) == len(planned(manifest))
        if done:
            manifest = replace(manifest, complete=True)
            write_manifest(folder, manifest)
            (folder / LISTING).unlink(missing_ok=True)
    gone = manifest.gone if done else 0
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
    return await begin(remote, schema, folder, options.part_rows)
