"""A SQLite database whose folder lets nobody make the files of a write-ahead log."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError, OperationalError

from mishards.catalog import sqlite_files
from mishards.catalog.engine import open_engine

connect = sqlite3.connect


class NoRoom(sqlite3.Connection):
    """What SQLite gives where a database with a write-ahead log lies in such a folder, without a writer."""

    def execute(self, *_: Any) -> Any:
        raise sqlite3.OperationalError("attempt to write a readonly database")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one row, whose writer has stopped; its name needs quoting in a URI."""
    path = tmp_path / "a b?%41.sqlite"
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a INTEGER)")
    connection.close()
    write(path)
    return path


@pytest.fixture
def engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    def connect_here(database: str, *, uri: bool = False, **options: Any) -> sqlite3.Connection:
        return connect(database, uri=uri, **options, **({} if uri else {"factory": NoRoom}))

    monkeypatch.setattr(sqlite_files.sqlite3, "connect", connect_here)
    return open_engine(f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}")


def write(path: Path) -> None:
    connection = connect(path)
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    connection.close()


def count(engine: Engine) -> int:
    with engine.begin() as connection:
        return int(connection.execute(text("SELECT count(*) FROM t")).scalar_one())


def test_a_database_whose_writer_has_stopped_is_read_and_read_anew_each_time(engine: Engine, path: Path) -> None:
    assert count(engine) == 1
    write(path)
    assert count(engine) == 2
    with pytest.raises(OperationalError, match="readonly"), engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    assert count(engine) == 2


def test_a_database_with_a_log_of_its_writer_is_not_read_without_it(engine: Engine, path: Path) -> None:
    path.with_name(path.name + "-wal").touch()
    with pytest.raises(OperationalError, match="readonly"):
        count(engine)


def test_a_file_that_is_no_database_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[sqlite3.Connection] = []

    def connect_here(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlite_files.sqlite3, "connect", connect_here)
    path.write_text("this is not a database, however long you look at it" * 10)
    with pytest.raises(DatabaseError, match="not a database"):
        open_engine(f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}").connect()
    for connection in made:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert made


def test_a_connection_that_lost_the_files_beside_the_database_is_not_used_again(path: Path) -> None:
    link = path.with_name("meta.sqlite")
    link.symlink_to(path)
    engine = open_engine(f"sqlite:///{link}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")
        with pytest.raises(OperationalError, match="readonly"):
            connection.execute(text("INSERT INTO t VALUES (2)"))
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar_one() == 0
    engine.dispose()
