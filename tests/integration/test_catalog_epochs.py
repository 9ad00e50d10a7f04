"""Epochs on a real MySQL server: a writer that is stopped in the middle of a change keeps nobody waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from harness.mariadb import Database
from harness.waiting import eventually
from mishards.catalog.definitions import DefinitionWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.transaction import WritableCatalog
from mishards.errors import CatalogUnavailable, Fenced
from mishards.kinds import MetricType

WAIT_S = 30.0


@pytest.fixture
def writers(mysql_database: Database) -> Iterator[tuple[WritableCatalog, WritableCatalog]]:
    first, second = (WritableCatalog(open_engine(mysql_database.uri, idle_s=1)) for _ in range(2))
    first.initialise()
    yield first, second
    first.close()
    second.close()


def test_a_change_that_rests_is_rolled_back_and_its_writer_succeeded(
    writers: tuple[WritableCatalog, WritableCatalog],
) -> None:
    stopped, successor = writers
    began, woken = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def change() -> None:
        try:
            with stopped.transaction():
                began.set()
                assert woken.wait(2 * WAIT_S)
        except CatalogUnavailable as error:
            failures.append(error)

    sleeper = threading.Thread(target=change)
    sleeper.start()
    assert began.wait(WAIT_S)

    def claimed() -> int:
        try:
            return successor.claim()
        except CatalogUnavailable:
            return 0  # it waits for the other's lock for a bounded time

    epoch = eventually(claimed, WAIT_S, "the resting change is rolled back")
    assert epoch >= 2
    woken.set()
    sleeper.join(WAIT_S)
    assert len(failures) == 1
    with pytest.raises(Fenced):
        DefinitionWriter(stopped).create_collection("words", 4, 1 << 20, MetricType.L2)
    DefinitionWriter(successor).create_collection("words", 4, 1 << 20, MetricType.L2)
