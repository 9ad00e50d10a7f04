"""The shared tables of Milvus 1.x, in SQLite or MySQL: each statement commits by itself, as the real server's do.

Nothing here spans two statements but ``atomically``, the server's mutex, and that one is known to its own process only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Executable,
    column,
    create_engine,
    delete,
    event,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from harness.milvus1.clock import microseconds
from harness.milvus1.hooks import Hooks
from harness.milvus1.kinds import Code, FileType, Refused, State

_SCHEMA = {
    "Tables": "id {key}, table_id VARCHAR(255) UNIQUE NOT NULL, state INT NOT NULL, dimension SMALLINT NOT NULL, "
    "created_on BIGINT NOT NULL, flag BIGINT DEFAULT 0 NOT NULL, index_file_size BIGINT DEFAULT 1024 NOT NULL, "
    "engine_type INT DEFAULT 1 NOT NULL, index_params VARCHAR(512) NOT NULL, metric_type INT DEFAULT 1 NOT NULL, "
    "owner_table VARCHAR(255) NOT NULL, partition_tag VARCHAR(255) NOT NULL, "
    "version VARCHAR(64) DEFAULT '1.0.0' NOT NULL, flush_lsn BIGINT DEFAULT 0 NOT NULL",
    "TableFiles": "id {key}, table_id VARCHAR(255) NOT NULL, segment_id VARCHAR(255) NOT NULL, "
    "engine_type INT DEFAULT 1 NOT NULL, file_id VARCHAR(255) NOT NULL, file_type INT DEFAULT 0 NOT NULL, "
    "file_size BIGINT DEFAULT 0 NOT NULL, row_count BIGINT DEFAULT 0 NOT NULL, updated_time BIGINT NOT NULL, "
    "created_on BIGINT NOT NULL, date INT DEFAULT -1 NOT NULL, flush_lsn BIGINT DEFAULT 0 NOT NULL",
    "Environment": "global_lsn BIGINT DEFAULT 0 NOT NULL",
    "Fields": "collection_id VARCHAR(255) NOT NULL, field_name VARCHAR(255) NOT NULL, "
    "field_type INT DEFAULT 0 NOT NULL, field_params VARCHAR(255) NOT NULL",
}
_KEYS = {"mysql": "BIGINT PRIMARY KEY AUTO_INCREMENT", "sqlite": "INTEGER PRIMARY KEY NOT NULL"}


@dataclass(frozen=True)
class Collection:
    """A row of ``Tables``: a collection, or a partition where ``owner_table`` is set."""

    id: int | None
    table_id: str
    state: int
    dimension: int
    created_on: int
    flag: int
    index_file_size: int
    engine_type: int
    index_params: str
    metric_type: int
    owner_table: str = ""
    partition_tag: str = ""
    version: str = "1.0.0"
    flush_lsn: int = 0


@dataclass(frozen=True)
class File:
    """A row of ``TableFiles``: a raw file where ``file_id`` is ``segment_id``, else an index file of that segment."""

    id: int | None
    table_id: str
    segment_id: str
    engine_type: int
    file_id: str
    file_type: int
    file_size: int
    row_count: int
    updated_time: int
    created_on: int
    date: int
    flush_lsn: int = 0


_TABLES = table("Tables", *(column(field.name) for field in fields(Collection)))
_FILES = table("TableFiles", *(column(field.name) for field in fields(File)))
_NAMES = {"Tables": fields(Collection), "TableFiles": fields(File)}


def _url(uri: str, storage: Path) -> str:
    if uri == "sqlite://:@:/":
        (storage / "db").mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{storage / 'db' / 'meta.sqlite'}"
    return uri.replace("mysql://", "mysql+pymysql://", 1)


def _engine(url: str) -> Engine:
    """Make a pool that notices dead connections; each statement commits by itself."""
    if url.startswith("sqlite"):
        return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    timeouts = {"connect_timeout": 5, "read_timeout": 30}
    return create_engine(url, pool_pre_ping=True, isolation_level="AUTOCOMMIT", connect_args=timeouts)


def _ids(rows: Iterable[File | Collection]) -> list[int]:
    return [row.id for row in rows if row.id is not None]


class Metadata:
    """One node's view of the shared tables; every method may be called from any thread.

    Every method raises ``Refused`` with META_FAILED while the database is away, and ``hooks.Killed`` once the node is
    killed.
    """

    def __init__(self, uri: str, storage: Path, hooks: Hooks) -> None:
        """Describe the database: ``mysql://…``, ``sqlite:///PATH``, or ``sqlite://:@:/`` for one in ``storage``."""
        self._hooks = hooks
        self._engine = _engine(_url(uri, storage))
        self._dialect = self._engine.dialect.name
        if self._dialect == "sqlite":
            event.listen(self._engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode=WAL"))
        self.atomically = threading.RLock()
        """The server's own mutex: reads and the updates of one change of files exclude each other in this process."""

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def prepare(self) -> None:
        """Create what tables are missing and check the columns of those that are there.

        Raises:
            RuntimeError: when a column is missing; a real server does not start either.
        """
        for name, columns in _SCHEMA.items():
            self._run(text(f"CREATE TABLE IF NOT EXISTS {name} ({columns.format(key=_KEYS[self._dialect])})"))
        for name, expected in _NAMES.items():
            with self._engine.connect() as connection:
                present = connection.execute(text(f"SELECT * FROM {name} LIMIT 0")).keys()  # noqa: S608 - our own names
            if missing := {field.name for field in expected} - set(present):
                raise RuntimeError(f"Meta {name} schema is created by Milvus old version (no {sorted(missing)})")
        if not self._run(text("SELECT global_lsn FROM Environment"))[0]:
            self._run(text("INSERT INTO Environment VALUES (0)"))

    def _run(self, statement: Executable, **values: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the rows of one statement and the key of the row that it inserted."""
        self._hooks.check_alive()
        try:
            with self.atomically, self._engine.connect() as connection:
                result = connection.execute(statement, values)
                if result.returns_rows:
                    return [dict(row) for row in result.mappings()], 0
                return [], int(getattr(result, "lastrowid", 0) or 0)
        except DBAPIError as error:
            raise Refused(Code.META_FAILED, f"Meta transaction failed: {error.orig}") from error

    def _insert(self, name: str, row: Collection | File) -> int:
        # By position, as the real server does: it fails on a table to which somebody has added a column.
        values = {f"v{number}": value for number, value in enumerate(astuple(row))}
        places = ", ".join(f":{place}" for place in values)
        return self._run(text(f"INSERT INTO {name} VALUES ({places})"), **values)[1]  # noqa: S608 - our own names

    # Tables

    def _collections(self, *conditions: ColumnElement[bool]) -> list[Collection]:
        rows, _ = self._run(select(_TABLES).where(*conditions).order_by(_TABLES.c.id))
        return [Collection(**row) for row in rows]

    def collection(self, table_id: str) -> Collection | None:
        """Return a collection or partition that is not dropped."""
        found = self._collections(_TABLES.c.table_id == table_id, _TABLES.c.state != State.TO_DELETE)
        return found[0] if found else None

    def is_dropping(self, table_id: str) -> bool:
        """Is the name still taken by a collection that was dropped?"""
        return bool(self._collections(_TABLES.c.table_id == table_id, _TABLES.c.state == State.TO_DELETE))

    def collections(self, owner: str = "") -> list[Collection]:
        """Return the collections, or the partitions of one, in the order of their creation."""
        return self._collections(_TABLES.c.owner_table == owner, _TABLES.c.state != State.TO_DELETE)

    def with_partitions(self, root: Collection) -> list[Collection]:
        """Return a collection and its partitions."""
        return [root, *self.collections(root.table_id)]

    def dropped(self) -> list[Collection]:
        """Return the collections and partitions that are only marked as dropped."""
        return self._collections(_TABLES.c.state == State.TO_DELETE)

    def add_collection(self, row: Collection) -> None:
        """Insert a row of ``Tables``."""
        self._insert("Tables", row)

    def update_collection(self, table_id: str, **columns: Any) -> None:
        """Change one row of ``Tables``."""
        self._run(update(_TABLES).where(_TABLES.c.table_id == table_id).values(**columns))

    def remove_collections(self, rows: Iterable[Collection]) -> None:
        """Delete rows of ``Tables``."""
        self._run(delete(_TABLES).where(_TABLES.c.id.in_(_ids(rows))))

    def set_global_lsn(self, lsn: int) -> None:
        """Record how far everything is flushed."""
        self._run(text("UPDATE Environment SET global_lsn = :lsn"), lsn=lsn)

    # TableFiles

    def _files(self, *conditions: ColumnElement[bool]) -> list[File]:
        rows, _ = self._run(select(_FILES).where(*conditions).order_by(_FILES.c.id))
        return [File(**row) for row in rows]

    def files(self, tables: Iterable[Collection], types: Sequence[FileType]) -> list[File]:
        """Return the files of some types of some collections and partitions."""
        names = [row.table_id for row in tables]
        return self._files(_FILES.c.table_id.in_(names), _FILES.c.file_type.in_(types))

    def files_by_id(self, ids: Sequence[int]) -> list[File]:
        """Return the files with these row ids, whatever their type and collection; an unknown id gives nothing."""
        return self._files(_FILES.c.id.in_(ids))

    def files_of_segment(self, segment_id: str) -> list[File]:
        """Return all files of a segment."""
        return self._files(_FILES.c.segment_id == segment_id)

    def files_to_remove(self, before: int) -> list[File]:
        """Return the files that became TO_DELETE before a time."""
        return self._files(_FILES.c.file_type == FileType.TO_DELETE, _FILES.c.updated_time < before)

    def add_file(self, row: File) -> File:
        """Insert a row of ``TableFiles`` and return it with its id."""
        return File(self._insert("TableFiles", row), *astuple(row)[1:])

    def update_file(self, file: File, **columns: Any) -> None:
        """Change one row of ``TableFiles``, and its ``updated_time``."""
        values = {"updated_time": microseconds(), **columns}
        self._run(update(_FILES).where(_FILES.c.id == file.id).values(**values))

    def retype_files(self, root: Collection, old: FileType, new: FileType) -> None:
        """Change the type of all files of one type of a collection or partition, and their ``updated_time``."""
        chosen = update(_FILES).where(_FILES.c.table_id == root.table_id, _FILES.c.file_type == old)
        self._run(chosen.values(file_type=new, updated_time=microseconds()))

    def mark_to_index(self, root: Collection, fewest_rows: int) -> None:
        """Turn RAW files that are big enough into TO_INDEX; ``updated_time`` stays."""
        raw = (_FILES.c.table_id == root.table_id, _FILES.c.file_type == FileType.RAW)
        big = _FILES.c.row_count >= fewest_rows
        self._run(update(_FILES).where(*raw, big).values(file_type=FileType.TO_INDEX))

    def drop_files(self, root: Collection) -> None:
        """Turn all files of a collection or partition into TO_DELETE."""
        kept = update(_FILES).where(_FILES.c.table_id == root.table_id, _FILES.c.file_type != FileType.TO_DELETE)
        self._run(kept.values(file_type=FileType.TO_DELETE, updated_time=microseconds()))

    def remove_files(self, rows: Iterable[File]) -> None:
        """Delete rows of ``TableFiles``."""
        self._run(delete(_FILES).where(_FILES.c.id.in_(_ids(rows))))

    def remove_shadows(self, types: Sequence[FileType]) -> None:
        """Delete the rows of files that nobody is writing any more."""
        self._run(delete(_FILES).where(_FILES.c.file_type.in_(types)))
