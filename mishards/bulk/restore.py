"""One restore, whole: a backup into a new collection. Nothing is inserted before every checksum was found right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from mishards.bulk.delivery import Delivery, Persistence
from mishards.bulk.imports import Loaded, check_still_there, completed, fingerprint, outcome
from mishards.bulk.interrupt import stop_signal
from mishards.bulk.journal import Journal
from mishards.bulk.load import Loader, LoadPlan, block_rows_for
from mishards.bulk.parts import MANIFEST, Manifest, verify
from mishards.bulk.progress import shown
from mishards.bulk.remote import Remote, Schema, connected
from mishards.bulk.sources.api import Block, ReadOptions, Source
from mishards.bulk.sources.opening import open_source
from mishards.errors import BulkError
from mishards.kinds import DEFAULT_TAG

_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What a user decides about a restore."""

    folder: Path
    address: str
    name: str = ""
    """Of the new collection; empty is that of the old one."""
    batch_rows: int | None = None
    in_flight: int = 4
    state: Path | None = None
    again: bool = False
    persistence: Persistence = field(default_factory=Persistence)


class BackupSource:
    """The parts of a backup as one source; blocks do not reach over the end of a part."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self.files = (folder / MANIFEST,)
        self.width = manifest.schema.width
        self.rows: int | None = manifest.rows

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``, but that the last block of every part may be shorter."""
        options = ReadOptions(self._manifest.schema.metric.is_binary, self.width, "vectors", "ids", any_ids=True)
        first = 0
        for part in self._manifest.parts:
            count = -(-part.rows // rows)
            if skip < count:
                source = open_source(self._folder / part.file, options)
                for block in source.blocks(rows, skip):
                    start = first + block.first
                    tag = "" if part.partition == DEFAULT_TAG else part.partition
                    yield replace(block, first=start, positions=block.positions + first, tag=tag)
            skip = max(0, skip - count)
            first += part.rows


async def run_restore(options: RestoreOptions, console: Console, *, quiet: bool = False) -> Loaded:
    """Restore a backup, or go on with a restore that was interrupted.

    Raises:
        DamagedBackup: a part is missing or has another checksum; nothing was inserted by this run.
        BulkError: it cannot begin or go on.
        NodeError: the server does not answer.
    """
    began = time.monotonic()
    manifest = verify(options.folder)
    schema = replace(manifest.schema, name=options.name or manifest.schema.name)
    source: Source = BackupSource(options.folder, manifest)
    rows = options.batch_rows or block_rows_for(schema.metric.vector_bytes(schema.dimension) + _ID_BYTES)
    path = options.state or options.folder / f"{schema.name}.restore.json"
    job = {"backup": fingerprint(source.files), "collection": schema.name, "block_rows": rows}
    with stop_signal() as stop:
        async with connected(options.address) as remote:
            with Journal(path, job, again=options.again) as journal:
                if journal.record.complete:
                    await check_still_there(remote, schema, journal)
                    return outcome(journal, schema.name, await remote.count(schema.name), 0.0, already=True)
                if journal.record.begun == 0:
                    await _make(remote, schema, manifest, journal)
                await check_still_there(remote, schema, journal)
                delivery = Delivery(remote, schema, options.persistence, stop)
                plan = LoadPlan(rows, in_flight=options.in_flight)
                with shown(console, f"restoring {schema.name}", source.rows, quiet=quiet) as advance:
                    finished = await Loader(source, delivery, journal, plan, advance).run(stop)
                if finished and not manifest.index.type.is_flat:
                    await remote.create_index(schema.name, manifest.index)
                after = await completed(remote, schema, journal) if finished else None
                return outcome(journal, schema.name, after, time.monotonic() - began)


async def _make(remote: Remote, schema: Schema, manifest: Manifest, journal: Journal) -> None:
    """Create the collection and its partitions, or what of them an interrupted run left out."""
    exists = await remote.schema(schema.name) is not None
    if journal.record.rows_before < 0:
        if exists:
            journal.forget()
            raise BulkError(f"there is a collection {schema.name} already; drop it, or name another with --as")
        journal.set_rows_before(0)
    if not exists:
        await remote.create(schema)
    for listed in manifest.listed:
        if listed.tag != DEFAULT_TAG and not await remote.has_partition(schema.name, listed.tag):
            await remote.create_partition(schema.name, listed.tag)
