"""From a metadata URI to a SQLAlchemy engine, and from its errors to ours.

URI forms: ``sqlite:////absolute/path/meta.sqlite`` and ``mysql://user:password@host:port/database`` (MySQL or MariaDB).
A password never appears in an error or a log line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from mishards.catalog import sqlite_files
from mishards.errors import CatalogError, CatalogUnavailable, ConfigError

CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 3
"""Without it a stopped MySQL server hangs its clients for ever: the handshake waits for a greeting."""
SQLITE_BUSY_TIMEOUT_S = 5.0

_KEEPS_DATABASE_ENCODED = make_url("sqlite:///%25").database == "%25"
"""SQLAlchemy 2.0, the last for Python 3.10, decodes the other parts only."""

_EXPECTED = "expected sqlite:////PATH or mysql://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
_REFUSED = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What the database answers to a statement it understood and will not run; asking again cannot help."""


def open_engine(uri: str, *, idle_s: int = 0) -> Engine:
    """Make an engine for a metadata URI; nothing connects yet.

    ``idle_s``: MySQL ends a connection on which nothing was said for so long, and rolls its transaction back, so that a
    process which is stopped in the middle of a change keeps nobody waiting for ever; 0 leaves that to the server.

    Raises:
        ConfigError: the URI is not one of the two forms.
    """
    try:
        url = _read(uri)
    except (ArgumentError, ValueError):
        # The URI and the cause are left out on purpose: they may hold a password.
        raise ConfigError(f"the metadata URI cannot be read; {_EXPECTED}") from None
    dialect = url.get_backend_name()
    if dialect == "sqlite":
        return _sqlite(url)
    if dialect in ("mysql", "mariadb"):
        return _mysql(url, idle_s)
    raise ConfigError(f"metadata in {dialect!r} is not supported; {_EXPECTED}")


def _read(uri: str) -> URL:
    """The parts of a URI, with no percent sign left from encoding. Raises ArgumentError and ValueError."""
    url = make_url(uri)
    if url.database and _KEEPS_DATABASE_ENCODED:
        return url.set(database=unquote(url.database))
    return url


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("metadata in memory cannot be shared; give sqlite:////PATH/meta.sqlite")
    if url.database.startswith("file:"):
        raise ConfigError(f"a file: URI of SQLite is not understood as metadata; {_EXPECTED}")
    engine = create_engine(url, poolclass=QueuePool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S})
    sqlite_files.open_where_nothing_can_be_written(engine)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        # SQLAlchemy shall say BEGIN itself; the driver's own idea of transactions would start them late.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        write = connection.get_execution_options().get("mishards_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _mysql(url: URL, idle_s: int) -> Engine:
    if not url.host or not url.database or "@" in url.host:
        # A host with an @ is the rest of a password.
        raise ConfigError(f"the metadata URI lacks a host or a database; {_EXPECTED}")
    url = url.set(drivername="mysql+pymysql")
    session = f"SET SESSION wait_timeout = {idle_s}" if idle_s else None
    return create_engine(
        url,
        # Two SELECTs see one state, and no text or number is cut to fit, whatever the server's defaults are.
        isolation_level="REPEATABLE READ",
        pool_size=4,
        max_overflow=4,
        pool_timeout=READ_TIMEOUT_S,
        pool_recycle=300,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "write_timeout": READ_TIMEOUT_S,
            "charset": "utf8mb4",
            "sql_mode": "TRADITIONAL",
            "init_command": session,
        },
    )


def prepare_sqlite(engine: Engine) -> None:
    """Make the folder of a SQLite database and switch it to write-ahead logging, so that readers never wait.

    Only for the process that owns the catalog; a no-op for MySQL.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    with translated(engine):
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def is_absent(engine: Engine) -> bool:
    """Is there no such SQLite file? Connecting would make an empty one."""
    return engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists()


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn errors of the database library into ours, with the password left out."""
    try:
        yield
    except _REFUSED as error:
        raise CatalogError(f"metadata database {where(engine)}: {_first_line(error)}") from error
    except (DBAPIError, PoolTimeoutError, OSError, sqlite3.Error) as error:
        raise CatalogUnavailable(f"metadata database {where(engine)}: {_first_line(error)}") from error
    except SQLAlchemyError as error:
        raise CatalogError(f"metadata database {where(engine)}: {_first_line(error)}") from error


def where(engine: Engine) -> str:
    """The URI as errors show it: no password, no options."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def _first_line(error: Exception) -> str:
    text = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    return text.partition("\n")[0]
