"""One export, whole: the rows of a collection, with their ids, into a file.

The rows are collected in parts first, in a hidden folder beside the file, so that an export that was interrupted goes
on behind the last whole part. Once all are there the file is written from them, and the folder removed.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from mishards.bulk.interrupt import stop_signal
from mishards.bulk.parts import (
    MANIFEST,
    Manifest,
    begin,
    existing,
    held,
    planned,
    read_manifest,
    write_parts,
)
from mishards.bulk.progress import shown
from mishards.bulk.remote import Remote, Schema, connected
from mishards.bulk.sink_formats import open_sink
from mishards.bulk.sinks import Sink
from mishards.errors import ResumeError


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user decides about an export."""

    collection: str
    file: Path
    address: str
    partitions: tuple[str, ...] = ()
    part_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """How an export ended."""

    collection: str
    files: tuple[str, ...]
    rows: int
    gone: int
    """Rows that were deleted meanwhile."""
    repeated_ids: int
    """Rows whose id another row of the partition has too: of each such id the first row was taken, every time."""
    finished: bool
    seconds: float


def collecting(file: Path) -> Path:
    """The folder in which the rows of a file are collected."""
    return file.with_name(f".{file.name}.export")


async def run_export(options: ExportOptions, console: Console, *, quiet: bool = False) -> Exported:
    """Write the rows that are there when it begins, or go on with an export that was interrupted.

    Raises:
        ResumeError: the beginning of another export to that file is there, or another process is at it.
        BulkError: it cannot be done; what was collected stays, for the next attempt.
        NodeError: the server does not answer; likewise.
    """
    began, folder = time.monotonic(), collecting(options.file)
    files: tuple[str, ...] = ()
    with stop_signal() as stop, held(folder):
        try:
            manifest = await _collected(options, folder, stop, console, quiet=quiet)
            if len(manifest.parts) == len(planned(manifest)):
                files = await _written(options.file, folder, manifest, stop)
        finally:
            if files or not (folder / MANIFEST).exists():
                shutil.rmtree(folder)
    rows, gone = manifest.rows, manifest.gone if files else 0
    seconds = time.monotonic() - began
    return Exported(options.collection, files, rows, gone, manifest.repeated_ids, bool(files), seconds)


async def _collected(
    options: ExportOptions, folder: Path, stop: asyncio.Event, console: Console, *, quiet: bool
) -> Manifest:
    async with connected(options.address) as remote:
        schema = await existing(remote, options.collection)
        _sink(options.file, schema).abandon()  # what cannot be written need not be fetched
        manifest = await _begun(remote, schema, options, folder)
        total = sum(part.rows for part in manifest.listed)
        if manifest.parts and not quiet:
            console.print(f"going on with an earlier export; remove {folder} to begin anew")
        with shown(console, f"exporting {schema.name}", total, quiet=quiet) as advance:
            return await write_parts(remote, manifest, folder, advance, stop)


async def _begun(remote: Remote, schema: Schema, options: ExportOptions, folder: Path) -> Manifest:
    if not (folder / MANIFEST).exists():
        return await begin(remote, schema, folder, options.part_rows, options.partitions)
    found = read_manifest(folder)
    if (found.schema, found.tags) != (schema, options.partitions):
        raise ResumeError(
            f"{folder} holds the beginning of another export, of partitions {', '.join(found.tags) or 'all'} of "
            f"{found.schema.name}; repeat that one, or remove the folder"
        )
    return found


async def _written(path: Path, folder: Path, manifest: Manifest, stop: asyncio.Event) -> tuple[str, ...]:
    """Make the file of its parts; the files there are then, none where ``stop`` was set before."""
    sink = _sink(path, manifest.schema)
    try:
        for part in manifest.parts:
            if stop.is_set():
                return ()
            await asyncio.to_thread(_append, sink, folder / part.file)
        await asyncio.to_thread(sink.finish)
    finally:
        sink.abandon()
    return tuple(map(str, sink.files))


def _sink(path: Path, schema: Schema) -> Sink:
    return open_sink(path, schema.width, binary=schema.metric.is_binary)


def _append(sink: Sink, part: Path) -> None:
    with np.load(part) as rows:
        sink.write(rows["ids"], rows["vectors"])
