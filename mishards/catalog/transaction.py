"""The frame of every change: one transaction, errors translated, versions that only rise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, case, func, insert, select, update

from mishards.catalog.engine import prepare_sqlite, translated
from mishards.catalog.reader import missing_columns
from mishards.catalog.records import FileType
from mishards.catalog.tables import environment, metadata, table_files
from mishards.errors import CatalogConflict, CatalogSchemaMismatch

_SHADOWS = (FileType.NEW, FileType.NEW_MERGE, FileType.NEW_INDEX)


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class WritableCatalog:
    """The database as its one writer sees it. Safe to use from any thread."""

    def __init__(self, engine: Engine, clock_us: Callable[[], int] = now_us) -> None:
        self._engine = engine.execution_options(mishards_write=True)
        self.now_us = clock_us

    def initialise(self) -> None:
        """Make the tables that are missing, check those that exist, and retire what a crashed writer announced.

        Raises:
            CatalogSchemaMismatch: an existing table lacks a column.
        """
        prepare_sqlite(self._engine)
        missing = missing_columns(self._engine)
        if missing:
            raise CatalogSchemaMismatch(f"the metadata database lacks {', '.join(missing)}; is it of an older Milvus?")
        with translated(self._engine):
            metadata.create_all(self._engine)
        with self.transaction() as connection:
            if connection.execute(select(func.count()).select_from(environment)).scalar_one() == 0:
                connection.execute(insert(environment).values(global_lsn=0))
            retire(connection, self.now_us(), table_files.c.file_type.in_(_SHADOWS))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with translated(self._engine), self._engine.begin() as connection:
            yield connection

    def set_global_lsn(self, lsn: int) -> None:
        """Record up to where every collection is flushed."""
        with self.transaction() as connection:
            connection.execute(update(environment).values(global_lsn=lsn))


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
