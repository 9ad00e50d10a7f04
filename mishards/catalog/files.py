"""Segment files: what flush, merge, compaction and index builds change.

One transaction a change, so that no reader ever sees a gap or a double. A change that depends on what a row was is a
compare-and-set: when the row is no longer so, nothing changes and CatalogConflict is raised. A file must be complete on
disk before a row names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from mishards.catalog.records import FileRecord, FileType
from mishards.catalog.tables import environment, table_files, tables
from mishards.catalog.transaction import WritableCatalog, expect, later, retire
from mishards.kinds import IndexType

_LIVE = (FileType.RAW, FileType.TO_INDEX, FileType.INDEX, FileType.BACKUP)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is complete on disk and wants a row. ``file_size`` is in bytes, ``row_count`` counts live rows."""

    table_id: str
    segment_id: str
    file_id: str
    file_type: FileType
    engine_type: IndexType
    file_size: int
    row_count: int
    flush_lsn: int = 0


@dataclass(frozen=True, slots=True)
class Deletion:
    """Rows of a segment were deleted: ``row_count`` are left. Moves the version of every file of the segment."""

    table_id: str
    segment_id: str
    row_count: int


@dataclass(frozen=True, slots=True)
class Expected:
    """A file as the change saw it: still of ``file_type``, still at ``updated_time``."""

    id: int
    file_type: int
    updated_time: int

    @classmethod
    def of(cls, file: FileRecord) -> Expected:
        """As that record says."""
        return cls(file.id, file.file_type, file.updated_time)


class FileWriter:
    """Each method is one transaction; all raise CatalogUnavailable when the database does not answer."""

    def __init__(self, catalog: WritableCatalog) -> None:
        self._catalog = catalog

    def mark_to_index(self, file_ids: Sequence[int]) -> None:
        """Queue raw files for an index build; the version does not move, the rows are the same."""
        with self._catalog.transaction() as connection:
            connection.execute(
                update(table_files)
                .where(table_files.c.id.in_(file_ids), table_files.c.file_type == FileType.RAW)
                .values(file_type=FileType.TO_INDEX)
            )

    def flush(
        self, new_files: Sequence[NewFile], deletions: Sequence[Deletion], lsn: int, table_ids: Sequence[str]
    ) -> None:
        """Show new segments and deletions of a collection, and record that its log is applied up to ``lsn``.

        ``table_ids`` names the collection first, then its partitions.

        Raises:
            CatalogConflict: the position is recorded already, since an earlier attempt went through although its answer
                was lost, or the collection is gone; nothing was changed.
        """
        now = self._catalog.now_us()
        with self._catalog.transaction() as connection:
            # First of all, so that an attempt whose commit is still on its way is waited for and then seen.
            behind = update(tables).where(tables.c.flush_lsn < lsn).values(flush_lsn=lsn)
            changed = connection.execute(behind.where(tables.c.table_id == table_ids[0]))
            expect(changed.rowcount, 1, f"flushed position of {table_ids[0]}")
            connection.execute(behind.where(tables.c.table_id.in_(table_ids[1:])))
            _insert_files(connection, new_files, now)
            for deletion in deletions:
                connection.execute(
                    update(table_files)
                    .where(
                        table_files.c.table_id == deletion.table_id,
                        table_files.c.segment_id == deletion.segment_id,
                        table_files.c.file_type.in_(_LIVE),
                    )
                    .values(row_count=deletion.row_count, updated_time=later(now))
                )

    def record_all_flushed(self, lsn: int) -> None:
        """Record that every collection is flushed up to ``lsn``."""
        with self._catalog.transaction() as connection:
            connection.execute(update(environment).values(global_lsn=lsn))

    def replace(self, sources: Sequence[Expected], segment_ids: Sequence[str], new_files: Sequence[NewFile]) -> None:
        """Put merged or compacted segments in the place of ``sources``, whose every file is retired.

        Raises:
            CatalogConflict: a source changed since it was read; nothing was changed.
        """
        now = self._catalog.now_us()
        with self._catalog.transaction() as connection:
            for source in sources:
                changed = connection.execute(
                    update(table_files)
                    .where(*_unchanged(source))
                    .values(file_type=FileType.TO_DELETE, updated_time=later(now))
                )
                expect(changed.rowcount, 1, f"file {source.id}")
            retire(connection, now, table_files.c.segment_id.in_(segment_ids))
            _insert_files(connection, new_files, now)

    def index_built(self, source: Expected, index: NewFile) -> None:
        """Switch a segment to its index file: the raw file becomes BACKUP, an older index is retired.

        Raises:
            CatalogConflict: the raw file is no longer the segment's, or lost rows since; nothing was changed.
        """
        now = self._catalog.now_us()
        with self._catalog.transaction() as connection:
            changed = connection.execute(
                update(table_files).where(*_unchanged(source)).values(file_type=FileType.BACKUP)
            )
            expect(changed.rowcount, 1, f"file {source.id}")
            same = (table_files.c.table_id == index.table_id) & (table_files.c.segment_id == index.segment_id)
            retire(connection, now, same & (table_files.c.file_type == FileType.INDEX))
            _insert_files(connection, [index], now)

    def retired(self, older_than_s: float) -> list[FileRecord]:
        """Files that were superseded or dropped more than ``older_than_s`` seconds ago."""
        limit = self._catalog.now_us() - int(older_than_s * 1e6)
        condition = (table_files.c.file_type == FileType.TO_DELETE) & (table_files.c.updated_time <= limit)
        with self._catalog.reading() as connection:
            return [FileRecord(*row) for row in connection.execute(select(table_files).where(condition))]

    def forget(self, files: Sequence[FileRecord]) -> None:
        """Remove the rows of retired files whose bytes are gone."""
        with self._catalog.transaction() as connection:
            connection.execute(
                delete(table_files).where(
                    table_files.c.id.in_([file.id for file in files]),
                    table_files.c.file_type == FileType.TO_DELETE,
                )
            )


def _insert_files(connection: Connection, files: Sequence[NewFile], now: int) -> None:
    if not files:
        return
    date = _date(now)
    connection.execute(
        insert(table_files),
        [
            {
                "table_id": file.table_id,
                "segment_id": file.segment_id,
                "engine_type": int(file.engine_type),
                "file_id": file.file_id,
                "file_type": int(file.file_type),
                "file_size": file.file_size,
                "row_count": file.row_count,
                "updated_time": now,
                "created_on": now,
                "date": date,
                "flush_lsn": file.flush_lsn,
            }
            for file in files
        ],
    )


def _unchanged(source: Expected) -> tuple[ColumnElement[bool], ...]:
    return (
        table_files.c.id == source.id,
        table_files.c.file_type == source.file_type,
        table_files.c.updated_time == source.updated_time,
    )


def _date(now_us: int) -> int:
    """The ``date`` column: (year - 1900) * 10000 + (month - 1) * 100 + day."""
    day = datetime.fromtimestamp(now_us / 1e6, tz=timezone.utc)
    return (day.year - 1900) * 10000 + (day.month - 1) * 100 + day.day
