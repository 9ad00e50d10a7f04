"""The frame of every change: one transaction, errors translated, versions that only rise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import ColumnElement, Connection, Engine, case, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from mishards.catalog.engine import prepare_sqlite, translated, where
from mishards.catalog.reader import check_schema
from mishards.catalog.records import FileType
from mishards.catalog.tables import environment, metadata, table_files, writer
from mishards.errors import CatalogConflict, CatalogUnavailable

_THE_ROW = 1
_SHADOWS = (FileType.NEW, FileType.NEW_MERGE, FileType.NEW_INDEX)
_TURN_S = 10.0
"""How long a change waits for those before it."""


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class WritableCatalog:
    """The database as its one writer sees it. Safe to use from any thread; changes take turns."""

    def __init__(self, engine: Engine, clock_us: Callable[[], int] = now_us) -> None:
        self._engine = engine.execution_options(mishards_write=True)
        self._turn = threading.Lock()  # who waits for the database holds no connection
        self.now_us = clock_us

    def initialise(self) -> None:
        """Make the tables that are missing, check those that exist, and retire what a crashed writer announced.

        Raises:
            CatalogSchemaMismatch: an existing table lacks a column.
        """
        prepare_sqlite(self._engine)
        check_schema(self._engine)
        with translated(self._engine), self._engine.begin() as connection:
            inspector = inspect(connection)
            for table in metadata.sorted_tables:
                if not inspector.has_table(table.name):
                    connection.execute(CreateTable(table, if_not_exists=True))
        with translated(self._engine), suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(insert(writer).values(id=_THE_ROW, revision=0))  # it may be there already
        with self.transaction() as connection:
            if connection.execute(select(environment)).first() is None:
                connection.execute(insert(environment).values(global_lsn=0))
            retire(connection, self.now_us(), table_files.c.file_type.in_(_SHADOWS))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One change: committed with the next revision when the block ends, rolled back when it raises.

        Raises:
            CatalogUnavailable: the database did not answer; where it was the commit that got no answer, the change may
                have happened all the same.
        """
        if not self._turn.acquire(timeout=_TURN_S):
            raise CatalogUnavailable(f"metadata database {where(self._engine)}: the change before this one hangs")
        try:
            with translated(self._engine), self._engine.begin() as connection:
                # First of all: who holds this row is alone, so changes of other processes wait and never deadlock.
                connection.execute(update(writer).values(revision=writer.c.revision + 1))
                yield connection
        finally:
            self._turn.release()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A look that changes nothing."""
        with translated(self._engine), self._engine.connect() as connection:
            yield connection


def retire(connection: Connection, now: int, condition: ColumnElement[bool]) -> None:
    """Mark the files that meet ``condition`` for removal."""
    connection.execute(
        update(table_files)
        .where(condition, table_files.c.file_type != FileType.TO_DELETE)
        .values(file_type=FileType.TO_DELETE, updated_time=later(now))
    )


def later(now: int) -> ColumnElement[int]:
    """``now``, or one more than the row's own time where the clock has not moved on: versions only rise."""
    return case((table_files.c.updated_time >= now, table_files.c.updated_time + 1), else_=now)


def expect(found: int, wanted: int, what: str) -> None:
    """Raise CatalogConflict unless as many rows changed as the caller had seen."""
    if found != wanted:
        raise CatalogConflict(f"{what} changed since it was read; nothing was changed, read again")
