"""The frame of every change: one transaction, errors translated, versions that only rise, one writer at a time.

A writer ``claim``s the catalog before its first change, which gives it an epoch above every earlier one. Each change
names its writer's epoch in its first statement, so that nothing of a writer that was succeeded goes through any more,
however long it slept; the database, not a clock, decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import ColumnElement, Connection, Engine, case, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.schema import CreateTable

from mishards.catalog.engine import prepare_sqlite, translated, where
from mishards.catalog.reader import check_schema
from mishards.catalog.records import FileType
from mishards.catalog.tables import environment, metadata, table_files, writer
from mishards.errors import CatalogConflict, CatalogUnavailable, Fenced

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
        self._epoch: int | None = None
        self.is_fenced = False
        """Was a change refused because another writer had claimed the catalog?"""
        self.now_us = clock_us

    def prepare(self) -> None:
        """Make the tables that are missing, and check those that exist; whoever may once write does it, any number.

        Raises:
            CatalogSchemaMismatch: an existing table lacks a column.
        """
        prepare_sqlite(self._engine)
        with translated(self._engine):
            self._add_epoch()
        check_schema(self._engine)
        with translated(self._engine), self._engine.begin() as connection:
            inspector = inspect(connection)
            for table in metadata.sorted_tables:
                if not inspector.has_table(table.name):
                    connection.execute(CreateTable(table, if_not_exists=True))
        with translated(self._engine), suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(insert(writer).values(id=_THE_ROW, revision=0))  # it may be there already

    def _add_epoch(self) -> None:
        """Give the table of a version that knew no epochs its column."""
        if not self._lacks_epoch():
            return
        try:
            with self._engine.begin() as connection:
                connection.execute(text(f"ALTER TABLE {writer.name} ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0"))
        except DBAPIError:
            if self._lacks_epoch():
                raise
            # another node has been quicker

    def _lacks_epoch(self) -> bool:
        inspector = inspect(self._engine)
        if not inspector.has_table(writer.name):
            return False
        return all(column["name"] != "epoch" for column in inspector.get_columns(writer.name))

    def claim(self) -> int:
        """Succeed every earlier writer: return the epoch of this one's changes, above all there were.

        What a crashed writer announced is retired. A claim whose answer was lost may be repeated.

        Raises:
            CatalogUnavailable: the database did not answer.
        """
        with translated(self._engine), self._engine.begin() as connection:
            connection.execute(update(writer).values(epoch=writer.c.epoch + 1, revision=writer.c.revision + 1))
            epoch: int = connection.execute(select(writer.c.epoch)).scalar_one()
            if connection.execute(select(environment)).first() is None:
                connection.execute(insert(environment).values(global_lsn=0))
            retire(connection, self.now_us(), table_files.c.file_type.in_(_SHADOWS))
        self._epoch = epoch
        return epoch

    def initialise(self) -> int:
        """``prepare`` and ``claim``, for a writer that is alone."""
        self.prepare()
        return self.claim()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One change: committed with the next revision when the block ends, rolled back when it raises.

        Raises:
            Fenced: another writer has claimed the catalog since; nothing was changed.
            CatalogUnavailable: the database did not answer; where it was the commit that got no answer, the change may
                have happened all the same.
        """
        if not self._turn.acquire(timeout=_TURN_S):
            raise CatalogUnavailable(f"metadata database {where(self._engine)}: the change before this one hangs")
        try:
            with translated(self._engine), self._engine.begin() as connection:
                # First of all: who holds this row is alone, so changes of other processes wait and never deadlock.
                mine = writer.c.epoch == self._epoch
                changed = connection.execute(update(writer).where(mine).values(revision=writer.c.revision + 1))
                if changed.rowcount != 1:
                    self.is_fenced = True
                    raise Fenced(
                        f"metadata database {where(self._engine)}: epoch {self._epoch} of this writer has ended, "
                        "another node leads"
                    )
                yield connection
        finally:
            self._turn.release()

    def check(self) -> None:
        """Raise Fenced when another writer has claimed the catalog; who gets an answer was the last until then."""
        with self.transaction():
            pass

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
