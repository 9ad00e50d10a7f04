"""Reading the catalog in one consistent transaction; nothing is written, SELECT rights suffice.

Rows are fetched only when a fingerprint of the tables has moved, which the database computes without sending them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Engine, func, inspect, select
from sqlalchemy.exc import DBAPIError

from mishards.catalog.deletes import in_compaction
from mishards.catalog.engine import is_absent, translated, where
from mishards.catalog.records import FileRecord, ReplicaRecord, TableRecord
from mishards.catalog.snapshot import Collection, Snapshot, assemble, in_merge_gap
from mishards.catalog.tables import drained_nodes, metadata, replica_numbers, table_files, tables, writer
from mishards.errors import CatalogSchemaMismatch, CatalogUnavailable

log = logging.getLogger(__name__)

_GAP_WAIT_S = 2.0
_COMPACTION_WAIT_S = 0.3
_GAP_PAUSE_S = 0.01
_GAP_KEPT_S = 60.0
"""How long a collection is shown as it was before a merge that does not end."""
_FULL_READ_S = 5.0
"""Rows are fetched at least this often, whatever the fingerprint says: a Milvus writer keeps no revision, and can
change an index definition so that no sum shows it."""

_Rows = tuple[list[TableRecord], list[FileRecord], list[ReplicaRecord]]
_Fetched = tuple[tuple[object, ...], float]


class CatalogReader:
    """Reads snapshots. One thread at a time (the cache's); ``close`` from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._closed = threading.Event()
        self._rows: _Rows | None = None
        self._revision = 0
        self._drained: frozenset[str] = frozenset()
        self._kept: dict[str, float] = {}
        """Collections that are shown as they were before a merge, and since when."""
        self._fetched: _Fetched = ((), 0.0)
        self._shown: _Fetched = ((), 0.0)

    def read(self, previous: Snapshot | None) -> Snapshot:
        """The catalog as it is now; the version is ``previous``'s where nothing has changed.

        A database in which nobody has made the tables yet is an empty catalog. Tables that were there and are gone
        are an error, not an empty catalog: a lost mount must not empty what is served.

        Raises:
            CatalogUnavailable: the database did not answer.
            CatalogSchemaMismatch: a table lacks a column.
        """
        began = time.monotonic()
        while True:
            snapshot = self._attempt(previous, time.monotonic() - began)
            if snapshot is not None:
                return snapshot
            if self._closed.wait(_GAP_PAUSE_S):
                began = -math.inf  # nobody waits for this read any more

    def _attempt(self, previous: Snapshot | None, waited_s: float) -> Snapshot | None:
        """Read once; None where the read fell into a merge or a compaction that is worth waiting for."""
        taken_at = time.monotonic()
        rows = self._read_rows()
        if previous is not None and rows == self._rows and not self._kept:
            self._shown = self._fetched
            return Snapshot(previous.version, taken_at, previous.collections, self._revision, self._drained)
        collections = assemble(*rows)
        gap = in_merge_gap(previous, collections, rows[1])
        if gap - self._kept.keys() and waited_s < _GAP_WAIT_S:
            return None
        # Our own writable node, which keeps a revision, shows the new and hides the old at once.
        if not self._revision and waited_s < _COMPACTION_WAIT_S and in_compaction(previous, collections):
            return None
        if previous is not None:
            collections |= {name: previous.collections[name] for name in self._still_kept(gap)}
        return self._assembled(previous, taken_at, rows, collections)

    def _still_kept(self, gap: frozenset[str]) -> list[str]:
        """The collections that stay as they were, because their merge does not come to an end.

        What the sources of a merge hold is all that the merged segment will: until they are cleaned up, old is right,
        and new is too little. Only where nobody cleans up for long the gap is taken for the truth.
        """
        now = time.monotonic()
        for name in gap - self._kept.keys():
            log.warning("a merge of %s hides rows and does not end; it is searched as it was before", name)
        self._kept = {name: self._kept.get(name, now) for name in gap}
        return [name for name, since in self._kept.items() if now - since < _GAP_KEPT_S]

    def _is_shown(self, fingerprint: tuple[object, ...]) -> bool:
        """Are the rows behind this fingerprint those of the last snapshot, fetched not long ago?"""
        shown, fetched_at = self._shown
        return fingerprint == shown and time.monotonic() - fetched_at < _FULL_READ_S

    def _assembled(
        self, previous: Snapshot | None, taken_at: float, rows: _Rows, collections: dict[str, Collection]
    ) -> Snapshot:
        self._shown = self._fetched
        self._rows = rows
        if previous is None:
            return Snapshot(1, taken_at, collections, self._revision, self._drained)
        version = previous.version + (collections != previous.collections)
        return Snapshot(version, taken_at, collections, self._revision, self._drained)

    def _read_rows(self) -> _Rows:
        with translated(self._engine):
            if is_absent(self._engine):
                return self._without_tables()
            try:
                with self._engine.connect() as connection, connection.begin():
                    self._revision = _revision(connection)
                    self._drained = frozenset(_own_rows(connection, drained_nodes.c.node))
                    replicas = [ReplicaRecord(*row) for row in _own_rows(connection, *replica_numbers.c)]
                    fingerprint = (self._revision, tuple(replicas), *_fingerprint(connection))
                    if self._rows is not None and self._is_shown(fingerprint):
                        return self._rows
                    found = [TableRecord(*row) for row in connection.execute(select(tables))]
                    files = [FileRecord(*row) for row in connection.execute(select(table_files))]
                    self._fetched = fingerprint, time.monotonic()
            except DBAPIError as error:
                if error.statement is None or error.connection_invalidated:
                    raise  # the database is away; every further question would wait as long
                return self._explained(error)
        return found, files, replicas

    def _explained(self, error: DBAPIError) -> _Rows:
        """Why a statement failed, as far as the schema explains it."""
        inspector = inspect(self._engine)
        if not all(inspector.has_table(table.name) for table in (tables, table_files)):
            return self._without_tables()
        check_schema(self._engine)
        raise error

    def _without_tables(self) -> _Rows:
        if self._rows not in (None, ([], [], [])):
            raise CatalogUnavailable(f"metadata database {where(self._engine)}: the tables are gone")
        return [], [], []

    def close(self) -> None:
        """Give the connections back."""
        self._closed.set()
        self._engine.dispose()


def _fingerprint(connection: Connection) -> tuple[object, ...]:
    """What moves whenever a writer changes what a snapshot shows, with the exception that ``_FULL_READ_S`` covers."""
    t, f = tables.c, table_files.c
    definitions = select(
        func.count(),
        func.sum(t.id),
        func.sum(t.state),
        func.sum(t.flag),
        func.sum(t.engine_type),
        func.max(t.flush_lsn),
    )
    files = select(func.count(), func.sum(f.id), func.sum(f.file_type), func.sum(f.row_count), func.max(f.updated_time))
    return (*connection.execute(definitions).one(), *connection.execute(files).one())


def _revision(connection: Connection) -> int:
    """The writer's count of changes; 0 where a Milvus server writes, or this account may not know."""
    try:
        return connection.execute(select(writer.c.revision)).scalar() or 0
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return 0


def _own_rows(connection: Connection, *columns: Column[Any]) -> Sequence[Any]:
    """Rows of a table of ours, or values of one column.

    None where nobody has made the table, or this account may not read it.
    """
    try:
        found = connection.execute(select(*columns))
        return found.scalars().all() if len(columns) == 1 else found.all()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return []


def check_schema(engine: Engine) -> None:
    """Compare the tables that exist with the Milvus 1.x schema; more columns than it has are welcome.

    Raises:
        CatalogSchemaMismatch: columns are missing; they are named.
    """
    with translated(engine):
        missing = _missing_columns(engine)
    if missing:
        raise CatalogSchemaMismatch(
            f"metadata database {where(engine)} lacks {', '.join(missing)}; is it of an older Milvus?"
        )


def _missing_columns(engine: Engine) -> Sequence[str]:
    missing = []
    inspector = inspect(engine)
    for table in metadata.sorted_tables:
        if inspector.has_table(table.name):
            present = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in present]
    return missing
