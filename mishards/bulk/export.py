"""One export, whole: the rows of a collection, with their ids, into a file."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mishards.bulk.listing import count_repeated, fetch, list_ids, read_ids
from mishards.bulk.progress import shown
from mishards.bulk.remote import Remote, Schema, connected
from mishards.bulk.sink_formats import open_sink
from mishards.errors import CollectionNotFound

_CHUNK_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user decides about an export."""

    collection: str
    file: Path
    address: str
    partitions: tuple[str, ...] = ()


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
    seconds: float


async def run_export(options: ExportOptions, console: Console, *, quiet: bool = False) -> Exported:
    """Write the rows that are there when it begins.

    Raises:
        BulkError: it cannot be done; nothing is left behind.
        NodeError: the server does not answer.
    """
    began = time.monotonic()
    async with connected(options.address) as remote:
        schema = await existing(remote, options.collection)
        sink = open_sink(options.file, schema.width, binary=schema.metric.is_binary)
        try:
            with tempfile.TemporaryDirectory(dir=options.file.parent, prefix=".ids-") as folder:
                listing = Path(folder) / "ids"
                listed = await list_ids(remote, schema, listing, options.partitions)
                repeated, total, rows = count_repeated(listing, listed), sum(part.rows for part in listed), 0
                with shown(console, f"exporting {schema.name}", total, quiet=quiet) as advance:
                    for part in listed:
                        for at in range(0, part.rows, _CHUNK_ROWS):
                            ids = read_ids(listing, part.first + at, min(_CHUNK_ROWS, part.rows - at))
                            async for found, vectors in fetch(remote, schema, part.tag, ids):
                                await asyncio.to_thread(sink.write, found, vectors)
                                rows += len(found)
                                advance(len(found))
            await asyncio.to_thread(sink.finish)
        finally:
            sink.abandon()
    files = tuple(map(str, sink.files))
    return Exported(schema.name, files, rows, total - rows, repeated, time.monotonic() - began)


async def existing(remote: Remote, name: str) -> Schema:
    """What a collection is. Raises CollectionNotFound."""
    schema = await remote.schema(name)
    if schema is None:
        raise CollectionNotFound(name)
    return schema
