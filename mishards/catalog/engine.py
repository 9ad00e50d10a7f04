"""From a metadata URI to a SQLAlchemy engine, and from its errors to ours.

URI forms: ``sqlite:////absolute/path/meta.sqlite`` and ``mysql://user:password@host:port/database`` (MySQL or MariaDB).
A password never appears in an error or a log line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from mishards.errors import CatalogError, CatalogUnavailable, ConfigError

CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 3
"""Without it a stopped MySQL server hangs its clients for ever: the handshake waits for a greeting."""
SQLITE_BUSY_TIMEOUT_S = 5.0


def open_engine(uri: str) -> Engine:
    """Make an engine for a metadata URI; nothing connects yet.

    Raises:
        ConfigError: the URI is not one of the two forms.
    """
    try:
        url = make_url(uri)
    except ArgumentError as error:
        # The text is left out on purpose: it may hold a password.
        raise ConfigError(
            "the metadata URI cannot be read; expected sqlite:////PATH or mysql://USER:PW@HOST/DB"
        ) from error
    dialect = url.get_backend_name()
    if dialect == "sqlite":
        return _sqlite(url)
    if dialect in ("mysql", "mariadb"):
        return _mysql(url)
    raise ConfigError(f"metadata in {dialect!r} is not supported; expected sqlite:////PATH or mysql://USER:PW@HOST/DB")


def masked(uri: str) -> str:
    """The URI with ``***`` for its password."""
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except (ArgumentError, NoSuchModuleError):
        return "(unreadable URI)"


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("metadata in memory cannot be shared; give sqlite:////PATH/meta.sqlite")
    engine = create_engine(url, poolclass=QueuePool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S})

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


def _mysql(url: URL) -> Engine:
    url = url.set(drivername="mysql+pymysql")
    return create_engine(
        url,
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


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn errors of the database library into ours, with the password masked."""
    try:
        yield
    except DBAPIError as error:
        raise CatalogUnavailable(f"metadata database {_where(engine)}: {_first_line(error)}") from error
    except SQLAlchemyError as error:
        raise CatalogError(f"metadata database {_where(engine)}: {_first_line(error)}") from error
    except OSError as error:
        raise CatalogUnavailable(f"metadata database {_where(engine)}: {error}") from error


def _where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _first_line(error: Exception) -> str:
    text = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    return text.partition("\n")[0]
