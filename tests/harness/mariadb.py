"""A private MariaDB server: its own data folder, its own port, databases and accounts made for one test each."""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from harness.ports import free_port
from harness.processes import Program, find_program, unprivileged

_PASSWORD = "correct-horse"  # noqa: S105 - of a server that only this test can reach


@dataclass(frozen=True)
class Database:
    """A database of one test, with an account that may do anything in it and one that may only read."""

    name: str
    uri: str
    readonly_uri: str


class MariaDB(Program):
    """A server that can be killed, paused and started again; what was committed stays.

    The account ``root`` is reached through the socket, so that it works however many TCP connections are taken.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """Describe a server in ``folder``, which belongs to the user that it runs as.

        ``options`` are further ones of ``mariadbd``, such as ``--max-connections=5``.
        """
        self.port = free_port()
        self._data = folder / "data"
        self._socket = folder / "s.sock"
        # A server that starts deletes the temporary tables of every other server that shares its folder for them.
        self._private_tmpdir = {"TMPDIR": str(folder)}
        self._names = itertools.count(1)
        server = find_program("mariadbd") or Path("mariadbd")
        super().__init__(
            f"mariadb-{self.port}",
            unprivileged(
                [
                    server,
                    "--no-defaults",
                    f"--datadir={self._data}",
                    f"--socket={self._socket}",
                    "--bind-address=127.0.0.1",
                    f"--port={self.port}",
                    "--innodb-buffer-pool-size=32M",
                    "--skip-name-resolve",
                    "--performance-schema=OFF",
                    *options,
                ]
            ),
            folder,
            environment=self._private_tmpdir,
        )

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("mariadbd") else "MariaDB is not installed (Debian: mariadb-server)"

    def launch(self) -> None:
        """Start it, on a new data folder the first time, and wait until it answers."""
        if not self._data.exists():
            self._prepare()
        self.start(self.answers)

    def _prepare(self) -> None:
        install = Program(
            f"{self.name}-install",
            unprivileged(
                [
                    "mariadb-install-db",
                    "--no-defaults",
                    f"--datadir={self._data}",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]
            ),
            self.folder,
            environment=self._private_tmpdir,
        )
        with install:
            install.start()
            if install.wait(60) != 0:
                raise AssertionError(f"mariadb-install-db failed:\n{install.log_tail()}")

    def answers(self) -> bool:
        """Does it answer a query within two seconds?"""
        try:
            self.execute("SELECT 1")
        except (OSError, pymysql.MySQLError):
            return False
        return True

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement as ``root`` and return its rows."""
        # PyMySQL would leak a Unix socket that it cannot connect, so it is given one.
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(2)
            channel.connect(str(self._socket))
            connection = pymysql.connect(user="root", defer_connect=True, read_timeout=2, write_timeout=2)
            connection.connect(channel)
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                rows = list(cursor.fetchall())
                connection.commit()
        return rows

    def create_database(self) -> Database:
        """Make an empty database with its two accounts."""
        name = f"test{next(self._names)}"
        self.execute(f"CREATE DATABASE `{name}`")
        for user, rights in ((name, "ALL"), (f"{name}_reader", "SELECT")):
            self.execute(f"CREATE USER `{user}`@`127.0.0.1` IDENTIFIED BY %s", _PASSWORD)
            self.execute(f"GRANT {rights} ON `{name}`.* TO `{user}`@`127.0.0.1`")
        return Database(name, self.uri(name, name), self.uri(name, f"{name}_reader"))

    def uri(self, database: str, user: str) -> str:
        """Return the metadata URI of a database for one of its accounts."""
        return f"mysql://{user}:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def drop_database(self, database: Database) -> None:
        """Remove a database and its accounts; connections to it go on and find nothing."""
        self.execute(f"DROP DATABASE IF EXISTS `{database.name}`")
        for user in (database.name, f"{database.name}_reader"):
            self.execute(f"DROP USER IF EXISTS `{user}`@`127.0.0.1`")
