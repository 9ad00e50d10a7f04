"""One import, whole: a file into a collection through a router or a node."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from mishards.bulk.delivery import Delivery, Persistence
from mishards.bulk.interrupt import stop_signal
from mishards.bulk.journal import Journal
from mishards.bulk.load import Loader, LoadPlan, block_rows_for
from mishards.bulk.progress import shown
from mishards.bulk.remote import Remote, Schema, connected
from mishards.bulk.sources.api import ReadOptions, Source
from mishards.bulk.sources.opening import open_source
from mishards.errors import BulkError
from mishards.kinds import DEFAULT_TAG, MetricType

_ID_BYTES = 8
_ENDS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Creation:
    """A collection to make where there is none; its dimension is the file's."""

    metric: MetricType = MetricType.L2
    index_file_size: int = 1024
    """MB."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a user decides about an import."""

    file: Path
    collection: str
    address: str
    create: Creation | None = None
    partition: str = ""
    vectors: str = ""
    ids: str = ""
    first_id: int | None = None
    batch_rows: int | None = None
    in_flight: int = 4
    skip_bad: bool = False
    bad_rows: Path | None = None
    state: Path | None = None
    again: bool = False
    persistence: Persistence = field(default_factory=Persistence)

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        parts = [self.file.name, self.collection, *([self.partition] if self.partition else [])]
        return self.state or self.file.with_name(".".join(part.replace("/", "_") for part in parts) + ".import.json")


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a load ended; rows are counted over all its runs."""

    collection: str
    rows: int
    """Acknowledged."""
    bad_rows: int
    rows_before: int
    rows_after: int | None
    """Rows that the collection has now; None when the load was interrupted."""
    finished: bool
    already: bool
    """Had an earlier run finished it?"""
    seconds: float
    state: str
    """The journal's path."""

    @property
    def count_fits(self) -> bool:
        """Does the collection have what it had and what was loaded? Others that write to it make a difference."""
        return self.rows_after is None or self.already or self.rows_after == self.rows_before + self.rows


async def run_import(options: ImportOptions, console: Console, *, quiet: bool = False) -> Loaded:
    """Import a file, or go on with an import that was interrupted.

    Raises:
        BulkError: it cannot begin or go on; what was done is in the journal.
        NodeError: the server does not answer.
    """
    began = time.monotonic()
    with stop_signal() as stop:
        async with connected(options.address) as remote:
            schema, source = await _target(remote, options)
            rows = options.batch_rows or block_rows_for(schema.metric.vector_bytes(schema.dimension) + _ID_BYTES)
            with Journal(options.journal_path, _job(options, source, rows), again=options.again) as journal:
                if journal.record.complete:
                    await check_still_there(remote, schema, journal)
                    return outcome(journal, schema.name, await remote.count(schema.name), 0.0, already=True)
                if journal.record.rows_before < 0:
                    await _prepare(remote, schema, options, journal)
                await check_still_there(remote, schema, journal)
                first_id = None if options.ids else options.first_id or 0
                plan = LoadPlan(
                    rows, first_id, options.partition, options.in_flight, options.skip_bad, options.bad_rows
                )
                delivery = Delivery(remote, schema, options.persistence, stop)
                with shown(console, f"importing {options.file.name}", source.rows, quiet=quiet) as advance:
                    finished = await Loader(source, delivery, journal, plan, advance).run(stop)
                after = await completed(remote, schema, journal) if finished else None
                return outcome(journal, schema.name, after, time.monotonic() - began)


async def _target(remote: Remote, options: ImportOptions) -> tuple[Schema, Source]:
    """The collection, made where it is asked for, and the open file."""
    schema = await remote.schema(options.collection)
    if schema is not None:
        read = ReadOptions(schema.metric.is_binary, schema.width, options.vectors, options.ids)
        return schema, open_source(options.file, read)
    if options.create is None:
        raise BulkError(f"there is no collection {options.collection}; make it with --create and --metric")
    metric = options.create.metric
    source = open_source(options.file, ReadOptions(metric.is_binary, None, options.vectors, options.ids))
    dimension = source.width * 8 if metric.is_binary else source.width
    schema = Schema(options.collection, dimension, metric, options.create.index_file_size)
    await remote.create(schema)
    return schema, source


async def _prepare(remote: Remote, schema: Schema, options: ImportOptions, journal: Journal) -> None:
    """Look at the collection before the first block."""
    tag = options.partition
    try:
        if tag and tag != DEFAULT_TAG and not await remote.has_partition(schema.name, tag):
            if options.create is None:
                raise BulkError(f"collection {schema.name} has no partition {tag!r}; make it with --create")
            await remote.create_partition(schema.name, tag)
        await remote.flush(schema.name)
        before = await remote.count(schema.name)
        if before and not options.ids and options.first_id is None:
            raise BulkError(
                f"collection {schema.name} has {before} rows, whose ids may be the same: give ids with --ids, "
                "or the first unused one with --first-id"
            )
    except BaseException:
        journal.forget()
        raise
    journal.set_rows_before(before)


async def check_still_there(remote: Remote, schema: Schema, journal: Journal) -> None:
    """Check that rows which were acknowledged in earlier runs are in the collection.

    Raises:
        BulkError: it has fewer rows; it was dropped, or rows were deleted.
    """
    if not journal.resumed or not journal.record.rows:
        return
    await remote.flush(schema.name)
    count = await remote.count(schema.name)
    if count < journal.record.rows:
        raise BulkError(
            f"collection {schema.name} has {count} rows, but {journal.record.rows} were loaded by {journal.path}; "
            "remove that file to load all of them again"
        )


async def completed(remote: Remote, schema: Schema, journal: Journal) -> int:
    """Make everything visible, close the journal's account, and return the rows of the collection."""
    await remote.flush(schema.name)
    count = await remote.count(schema.name)
    journal.save(complete=True)
    return count


def outcome(journal: Journal, collection: str, after: int | None, seconds: float, *, already: bool = False) -> Loaded:
    """What to say of a load; ``already`` when an earlier run had finished it."""
    record, finished = journal.record, after is not None
    return Loaded(
        collection,
        record.rows,
        record.bad_rows,
        record.rows_before,
        after,
        finished,
        already,
        seconds,
        str(journal.path),
    )


def _job(options: ImportOptions, source: Source, rows: int) -> dict[str, Any]:
    return {
        "source": fingerprint(source.files),
        "collection": options.collection,
        "partition": options.partition,
        "vectors": options.vectors,
        "ids": options.ids,
        "first_id": None if options.ids else options.first_id or 0,
        "block_rows": rows,
    }


def fingerprint(files: Sequence[Path]) -> list[dict[str, Any]]:
    """What tells a file from another or an earlier one: size, time of the last change, checksum of both its ends."""
    found = []
    for path in files:
        status = path.stat()
        with path.open("rb") as stream:
            ends = hashlib.sha256(stream.read(_ENDS_BYTES))
            stream.seek(max(0, status.st_size - _ENDS_BYTES))
            ends.update(stream.read(_ENDS_BYTES))
        found.append({"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "ends_sha256": ends.hexdigest()})
    return found
