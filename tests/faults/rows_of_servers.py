"""Faults of the metadata database and of the agent that takes spans."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pymysql
from faults.fault_row import ALL_WORK, Expected, May, Row, Works
from faults.fault_stage import BACK_S, Stage
from sqlalchemy.engine import make_url

from harness.span_receivers import JaegerAgent
from harness.traffic import DELETE, INSERT, SEARCH, STRONG
from harness.waiting import eventually

_FEWEST_CONNECTIONS = 10
"""MariaDB allows no smaller number."""
_LOCKING = ("SELECT * FROM TableFiles FOR UPDATE", "SELECT * FROM Tables FOR UPDATE")


@contextlib.contextmanager
def database_killed(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGKILL of MariaDB."""
    stage.cluster.mariadb.kill()
    try:
        yield
    finally:
        stage.cluster.mariadb.launch()


@contextlib.contextmanager
def database_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    """SIGSTOP of MariaDB."""
    stage.cluster.mariadb.pause()
    try:
        yield
    finally:
        stage.cluster.mariadb.resume()


@contextlib.contextmanager
def database_refusing(stage: Stage, seconds: float) -> Iterator[None]:
    """MariaDB has no connection left, then is read-only, then has deadlocks; for a third of the time each."""
    server = stage.cluster.mariadb
    with _no_connection_left(stage):
        stage.pause(seconds / 3)
    server.execute("SET GLOBAL read_only = 1")
    try:
        stage.pause(seconds / 3)
    finally:
        server.execute("SET GLOBAL read_only = 0")
    with _deadlocks(stage):
        yield


@contextlib.contextmanager
def _no_connection_left(stage: Stage) -> Iterator[None]:
    server, hogs = stage.cluster.mariadb, list[pymysql.Connection]()
    ((usual,),) = server.execute("SELECT @@max_connections")
    server.execute(f"SET GLOBAL max_connections = {_FEWEST_CONNECTIONS}")
    try:
        for (number,) in server.execute("SELECT id FROM information_schema.processlist WHERE user LIKE 'test%'"):
            with contextlib.suppress(pymysql.MySQLError):  # it has ended by itself
                server.execute(f"KILL {number}")
        for _ in range(2 * _FEWEST_CONNECTIONS):
            with contextlib.suppress(pymysql.MySQLError):  # none is left
                hogs.append(_connected(stage))
        assert hogs, "no connection was to be had at all"
        yield
    finally:
        for hog in hogs:
            hog.close()
        server.execute(f"SET GLOBAL max_connections = {usual}")


@contextlib.contextmanager
def _deadlocks(stage: Stage) -> Iterator[None]:
    """Another client locks all rows of one table after the other, holds them for a while, and gives up."""
    stopping = threading.Event()

    def lock() -> None:
        with contextlib.closing(_connected(stage)) as connection, connection.cursor() as cursor:
            while not stopping.wait(0.1):
                with contextlib.suppress(pymysql.MySQLError):  # it was the victim
                    for statement in _LOCKING:
                        cursor.execute(statement)
                        stopping.wait(0.1)
                connection.rollback()

    thread = threading.Thread(target=lock, name="deadlocks")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(BACK_S)


def _connected(stage: Stage) -> pymysql.Connection:
    url = make_url(stage.cluster.database.uri)
    return pymysql.connect(
        host=url.host,
        port=url.port or 0,
        user=url.username,
        password=url.password or "",
        database=url.database,
        connect_timeout=5,
        read_timeout=20,
        write_timeout=20,
    )


@contextlib.contextmanager
def agent_gone(stage: Stage, seconds: float) -> Iterator[None]:
    """Nobody listens where spans are sent to; afterwards spans arrive again."""
    port = int(stage.agent.endpoint.rpartition(":")[2])
    eventually(lambda: len(stage.agent.received()), BACK_S, "spans arrive")
    stage.agent.close()
    try:
        yield
    finally:
        stage.agent = JaegerAgent(port)
    eventually(lambda: len(stage.agent.received()), BACK_S, "spans arrive again")


_MAY_WRITE: Expected = {SEARCH: Works(at_once=1.0), STRONG: May(), INSERT: May(), DELETE: May()}

ROWS = [
    Row(10, "the database is killed", database_killed, 1, 20, _MAY_WRITE),
    Row(11, "the database is stopped", database_stopped, 4, 30, _MAY_WRITE),
    Row(12, "the database refuses", database_refusing, 4, 45, _MAY_WRITE),
    Row(23, "the tracing agent is gone", agent_gone, 1, 20, ALL_WORK),
]
