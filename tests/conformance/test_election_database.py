from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.mariadb import Database
from harness.mariadb import MariaDB as Server
from harness.tcp_proxy import TcpProxy
from mishards.catalog.engine import open_engine
from mishards.catalog.leases import LeaseTable
from mishards.catalog.transaction import WritableCatalog
from mishards.election.api import Candidate, ElectionOptions, Elector
from mishards.election.database import DatabaseElector
from mishards.errors import CatalogUnavailable
from mishards.testing.election import LONG_S, ElectionBackend, ElectionSuite


def options(lease_s: float) -> ElectionOptions:
    return ElectionOptions(lease_s, renew_s=0.2, same_host=False)


def prepare(uri: str) -> None:
    catalog = WritableCatalog(open_engine(uri))
    catalog.prepare()
    catalog.close()


class SQLite(ElectionBackend):
    """A file; who is cut off gets no answer from it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._uri = f"sqlite:///{folder / 'meta.sqlite'}"
        prepare(self._uri)
        self._cut: set[LeaseTable] = set()
        self._electors: list[DatabaseElector] = []
        for name in ("read", "take", "renew", "give_back"):
            monkeypatch.setattr(LeaseTable, name, self._unless_cut(getattr(LeaseTable, name)))

    def _unless_cut(self, method: object) -> object:
        def asked(table: LeaseTable, *arguments: object) -> object:
            if table in self._cut:
                raise CatalogUnavailable("cut off")
            return method(table, *arguments)  # type: ignore[operator]  # one of several methods

        return asked

    def elector(self, candidate: Candidate, lease_s: float = LONG_S) -> Elector:
        self._electors.append(DatabaseElector(self._uri, candidate, options(lease_s)))
        return self._electors[-1]

    def cut_off(self, elector: Elector) -> None:
        assert isinstance(elector, DatabaseElector)
        self._cut.add(elector._table)

    def reconnect(self, elector: Elector) -> None:
        assert isinstance(elector, DatabaseElector)
        self._cut.discard(elector._table)

    def close(self) -> None:
        for elector in self._electors:
            elector.close()


class MariaDB(ElectionBackend):
    """A real server; each elector reaches it through a proxy of its own."""

    def __init__(self, server: Server, database: Database) -> None:
        self._server, self._database = server, database
        self._made: dict[Elector, TcpProxy] = {}

    def elector(self, candidate: Candidate, lease_s: float = LONG_S) -> Elector:
        proxy = TcpProxy(f"127.0.0.1:{self._server.port}")
        uri = self._database.uri.replace(f":{self._server.port}/", f":{proxy.port}/")
        elector = DatabaseElector(uri, candidate, options(lease_s))
        self._made[elector] = proxy
        return elector

    def cut_off(self, elector: Elector) -> None:
        self._made[elector].freeze()

    def reconnect(self, elector: Elector) -> None:
        self._made[elector].heal()

    def close(self) -> None:
        for elector, proxy in self._made.items():
            proxy.heal()
            elector.close()
            proxy.close()


class TestSQLite(ElectionSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLite]:
        made = SQLite(tmp_path, monkeypatch)
        yield made
        made.close()


@pytest.fixture(scope="module")
def lease_database(mariadb: Server) -> Iterator[Database]:
    made = mariadb.create_database()
    prepare(made.uri)
    yield made
    mariadb.drop_database(made)


class TestMariaDB(ElectionSuite):
    @pytest.fixture
    def backend(self, mariadb: Server, lease_database: Database) -> Iterator[MariaDB]:
        mariadb.execute(f"TRUNCATE TABLE `{lease_database.name}`.mishards_lease")
        made = MariaDB(mariadb, lease_database)
        yield made
        made.close()
