from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pymysql
import pytest

from harness.mariadb import Database, MariaDB
from harness.waiting import eventually


def _open(uri: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
    parts = urlsplit(uri)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database=parts.path[1:],
        connect_timeout=2,
        read_timeout=2,
        write_timeout=2,
    )


def _run(uri: str, statement: str) -> list[tuple[object, ...]]:
    with _open(uri) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()
        return list(cursor.fetchall())


@pytest.fixture
def running(mariadb: MariaDB) -> Iterator[MariaDB]:
    """The server, which runs again after the test whatever the test did to it."""
    yield mariadb
    if mariadb.running:
        mariadb.resume()
    else:
        mariadb.launch()


def test_a_database_is_empty_and_of_one_test(mysql_database: Database, mariadb: MariaDB) -> None:
    other = mariadb.create_database()
    _run(mysql_database.uri, "CREATE TABLE here (a INT)")
    assert _run(other.uri, "SHOW TABLES") == []
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        _run(mariadb.uri(mysql_database.name, other.name), "SELECT * FROM here")
    mariadb.drop_database(other)


def test_the_reading_account_cannot_write(mysql_database: Database) -> None:
    _run(mysql_database.uri, "CREATE TABLE here (a INT)")
    assert _run(mysql_database.readonly_uri, "SELECT * FROM here") == []
    with pytest.raises(pymysql.err.OperationalError, match="INSERT command denied"):
        _run(mysql_database.readonly_uri, "INSERT INTO here VALUES (1)")


def test_what_was_committed_survives_a_kill(mysql_database: Database, running: MariaDB) -> None:
    _run(mysql_database.uri, "CREATE TABLE here (a INT)")
    _run(mysql_database.uri, "INSERT INTO here VALUES (41)")
    running.kill()
    with pytest.raises(pymysql.err.OperationalError, match="Can't connect"):
        _open(mysql_database.uri)
    running.launch()
    assert _run(mysql_database.uri, "SELECT a FROM here") == [(41,)]


def test_a_paused_server_answers_nobody_until_it_is_resumed(mysql_database: Database, running: MariaDB) -> None:
    running.pause()
    with pytest.raises(pymysql.err.OperationalError):
        _open(mysql_database.uri)
    running.resume()
    eventually(running.answers, 10, "the server answers again")
    assert _run(mysql_database.uri, "SELECT 1") == [(1,)]
