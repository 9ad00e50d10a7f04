from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from harness.ports import free_port
from mishards.catalog.engine import open_engine, translated
from mishards.catalog.reader import CatalogReader
from mishards.catalog.transaction import WritableCatalog
from mishards.errors import CatalogError, CatalogUnavailable, ConfigError

SECRET = "hunter2"  # noqa: S105 - of no server


@pytest.mark.parametrize(
    "uri",
    [
        f"milvus:{SECRET}",
        f"mysql://milvus:{SECRET}@db:port/milvus",
        f"mysql://milvus:{SECRET}@db",
        f"mysql://milvus:{SECRET}@/milvus",
        f"mysql://milvus:first@{SECRET}@db/milvus",
        f"postgresql://milvus:{SECRET}@db/milvus",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:/tmp/meta.sqlite?mode=ro&uri=true",
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_without_telling_its_password(uri: str) -> None:
    with pytest.raises(ConfigError, match="metadata") as caught:
        open_engine(uri)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_no_error_of_a_database_that_is_away_tells_the_password(scheme: str) -> None:
    engine = open_engine(f"{scheme}://milvus:{SECRET}@127.0.0.1:{free_port()}/milvus?password={SECRET}")
    for what in (CatalogReader(engine).read, lambda _: WritableCatalog(engine).initialise()):
        with pytest.raises(CatalogUnavailable, match=r"metadata database mysql\+pymysql://milvus:\*\*\*@") as caught:
            what(None)
        assert SECRET not in str(caught.value)
        assert caught.value.retryable


def test_what_the_database_will_never_do_is_not_called_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'meta.sqlite'}")
    for error, kind in [
        (OperationalError("SELECT 1", None, Exception("gone")), CatalogUnavailable),
        (InterfaceError("SELECT 1", None, Exception("gone")), CatalogUnavailable),
        (PoolTimeoutError("no connection is free"), CatalogUnavailable),
        (OSError("no route"), CatalogUnavailable),
        (sqlite3.OperationalError("locked"), CatalogUnavailable),
        (DataError("INSERT", None, Exception("out of range")), CatalogError),
        (ProgrammingError("SELECT", None, Exception("no such column")), CatalogError),
    ]:
        with pytest.raises(kind) as caught, translated(engine):
            raise error
        assert type(caught.value) is kind


def test_errors_are_one_line(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'meta.sqlite'}")
    with pytest.raises(CatalogUnavailable) as caught, translated(engine):
        raise OperationalError("SELECT 1", {"x": SECRET}, Exception("first\nsecond"))
    assert str(caught.value).endswith("first")
    assert SECRET not in str(caught.value)


def test_a_sqlite_database_is_written_ahead_so_that_readers_never_wait(tmp_path: Path) -> None:
    path = tmp_path / "new" / "meta.sqlite"
    engine = open_engine(f"sqlite:///{path}")
    writable = WritableCatalog(engine)
    writable.initialise()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader = CatalogReader(open_engine(f"sqlite:///{path}"))
    with writable.transaction():
        assert reader.read(None).collections == {}
    reader.close()
    engine.dispose()


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = open_engine(f"sqlite:///{tmp_path / 'file' / 'meta.sqlite'}")
    with pytest.raises(CatalogUnavailable, match="file"):
        WritableCatalog(engine).initialise()


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    path.write_text("this is not a database, however long you look at it" * 10)
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(CatalogError, match="not a database"):
        WritableCatalog(engine).initialise()
    with pytest.raises(CatalogError, match="not a database"):
        CatalogReader(engine).read(None)
    engine.dispose()
