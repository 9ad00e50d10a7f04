"""Reading the catalog: two SELECTs in one consistent transaction, nothing written, SELECT rights suffice."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import DBAPIError

from mishards.catalog.engine import translated
from mishards.catalog.records import FileRecord, TableRecord
from mishards.catalog.snapshot import Snapshot, assemble, in_merge_gap
from mishards.catalog.tables import table_files, tables

_GAP_READS = 20
_GAP_PAUSE_S = 0.01

_Rows = tuple[list[TableRecord], list[FileRecord]]


class CatalogReader:
    """Reads snapshots. One thread at a time (the cache's); ``close`` from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._closed = threading.Event()
        self._rows: _Rows | None = None

    def read(self, previous: Snapshot | None) -> Snapshot:
        """The catalog as it is now; the version is ``previous``'s where nothing has changed.

        A database in which nobody has made the tables yet is an empty catalog.

        Raises:
            CatalogUnavailable: the database did not answer.
        """
        for _ in range(_GAP_READS):
            snapshot = self._attempt(previous)
            if snapshot is not None:
                return snapshot
            self._closed.wait(_GAP_PAUSE_S)
        return self._assembled(previous, time.monotonic(), self._read_rows())

    def _attempt(self, previous: Snapshot | None) -> Snapshot | None:
        """Read once; None where the read fell into a merge."""
        taken_at = time.monotonic()
        rows = self._read_rows()
        if previous is not None and rows == self._rows:
            return Snapshot(previous.version, taken_at, previous.collections)
        if in_merge_gap(previous, assemble(*rows), rows[1]):
            return None
        return self._assembled(previous, taken_at, rows)

    def _assembled(self, previous: Snapshot | None, taken_at: float, rows: _Rows) -> Snapshot:
        self._rows = rows
        return Snapshot(1 if previous is None else previous.version + 1, taken_at, assemble(*rows))

    def _read_rows(self) -> _Rows:
        with translated(self._engine):
            try:
                with self._engine.connect() as connection, connection.begin():
                    found = [TableRecord(*row) for row in connection.execute(select(tables))]
                    files = [FileRecord(*row) for row in connection.execute(select(table_files))]
            except DBAPIError:
                if self._is_empty():
                    return [], []
                raise
        return found, files

    def _is_empty(self) -> bool:
        return not inspect(self._engine).has_table(tables.name)

    def close(self) -> None:
        """Give the connections back."""
        self._closed.set()
        self._engine.dispose()


def missing_columns(engine: Engine) -> Sequence[str]:
    """Columns of the Milvus 1.x schema that existing tables lack, as ``Table.column``; empty when all is well."""
    missing = []
    with translated(engine):
        inspector = inspect(engine)
        for table in (tables, table_files):
            if not inspector.has_table(table.name):
                continue
            present = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in present]
    return missing
