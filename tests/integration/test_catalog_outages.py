from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from harness.catalog import Catalog
from harness.mariadb import Database, MariaDB
from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually
from harness.write_path import WritePath
from mishards.catalog.cache import SnapshotCache
from mishards.errors import CatalogUnavailable

WAIT_S = 30.0
PASSWORD = "correct-horse"  # noqa: S105 - of the harness's own server

Open = Callable[[str], Catalog]


@pytest.fixture
def open_catalog() -> Iterator[Open]:
    opened: list[Catalog] = []

    def make(uri: str) -> Catalog:
        opened.append(Catalog(uri))
        return opened[-1]

    yield make
    for catalog in opened:
        catalog.close()


def within(deadline_s: float, call: Callable[[], Any]) -> Any:
    """What ``call`` returns, or the error it raises, in a bounded time."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).exception(deadline_s) or pool.submit(call).result(deadline_s)


def test_a_restarted_server_is_found_again(mariadb: MariaDB, mysql_database: Database, open_catalog: Open) -> None:
    catalog = open_catalog(mysql_database.uri)
    catalog.writable.initialise()
    catalog.create()
    mariadb.kill()
    try:
        for call in (catalog.collection, lambda: catalog.create("other")):
            assert isinstance(within(WAIT_S, call), CatalogUnavailable)
    finally:
        mariadb.launch()
    assert catalog.collection().name == "words"
    catalog.create("third")


def test_a_frozen_server_costs_a_bounded_time_and_the_last_snapshot_stays(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = open_catalog(mysql_database.uri)
    catalog.writable.initialise()
    catalog.create()
    cache = SnapshotCache(catalog.reader.read, interval_s=0.01)
    cache.start()
    eventually(lambda: cache.current, WAIT_S, "a first snapshot")
    mariadb.pause()
    try:
        assert isinstance(within(WAIT_S, lambda: catalog.create("other")), CatalogUnavailable)
        eventually(lambda: cache.error, WAIT_S, "the cache notices")
        current = cache.current
        assert current is not None
        assert list(current.collections) == ["words"]
    finally:
        mariadb.resume()
    eventually(lambda: cache.error is None, WAIT_S, "the cache heals")
    catalog.create("third")
    cache.close()
    assert PASSWORD not in caplog.text


def test_no_error_of_a_living_server_tells_the_password(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open, caplog: pytest.LogCaptureFixture
) -> None:
    right = mysql_database.uri
    with caplog.at_level(logging.DEBUG):
        for uri in (right.replace(PASSWORD, PASSWORD[::-1]), mariadb.uri("nowhere", mysql_database.name)):
            with pytest.raises(CatalogUnavailable, match="denied") as caught:
                open_catalog(uri).reader.read(None)
            assert PASSWORD not in str(caught.value)
            assert PASSWORD[::-1] not in str(caught.value)
    assert PASSWORD not in caplog.text


def test_a_commit_that_arrives_long_after_its_client_gave_up_shows_every_row_once(
    mariadb: MariaDB, mysql_database: Database, tmp_path: Path
) -> None:
    with TcpProxy(f"127.0.0.1:{mariadb.port}") as proxy:
        uri = mysql_database.uri.replace(f":{mariadb.port}/", f":{proxy.address.rpartition(':')[2]}/")
        node = WritePath(tmp_path, uri=uri)
        node.create()
        node.insert([1, 2, 3])
        freezing = [proxy.freeze]

        def freeze_the_commit(_: object) -> None:
            if freezing:
                freezing.pop()()

        engine: Engine = node._engine
        event.listen(engine, "commit", freeze_the_commit)
        with pytest.raises(CatalogUnavailable):
            node.flush()
        proxy.heal()
        eventually(lambda: _flushed(node), WAIT_S, "the flush goes through")
        assert node.ids() == [1, 2, 3]
        node.close()


def _flushed(node: WritePath) -> bool:
    try:
        node.flush()
    except CatalogUnavailable:
        return False
    return not node.parts.buffer.pending()
