"""Epochs: a writer that was succeeded changes nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.catalog import Catalog
from mishards.catalog.engine import open_engine
from mishards.catalog.leases import LeaseRecord, LeaseTable
from mishards.catalog.transaction import WritableCatalog
from mishards.errors import Fenced


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'meta.sqlite'}"


@pytest.fixture
def writers(uri: str) -> Iterator[tuple[Catalog, Catalog]]:
    first, second = Catalog(uri), Catalog(uri)
    first.writable.initialise()
    yield first, second
    first.close()
    second.close()


def test_each_claim_is_above_all_before(uri: str) -> None:
    epochs = []
    for _ in range(3):
        catalog = WritableCatalog(open_engine(uri))
        epochs.append(catalog.initialise())
        catalog.close()
    assert epochs == [1, 2, 3]


def test_a_writer_that_was_succeeded_changes_nothing_more(writers: tuple[Catalog, Catalog]) -> None:
    old, new = writers
    old.create("words")
    new.writable.claim()
    revision = new.reader.read(None).revision
    with pytest.raises(Fenced, match="epoch 1 of this writer has ended"):
        old.create("more")
    with pytest.raises(Fenced):
        old.flush("5", name="words", lsn=7)
    with pytest.raises(Fenced):
        old.writable.check()
    assert old.writable.is_fenced
    snapshot = new.reader.read(None)
    assert list(snapshot.collections) == ["words"]
    assert snapshot.collection("words").segments == ()
    assert snapshot.revision == revision
    new.create("more")
    assert not new.writable.is_fenced


def test_who_never_claimed_the_catalog_changes_nothing(writers: tuple[Catalog, Catalog]) -> None:
    _, stranger = writers
    with pytest.raises(Fenced):
        stranger.create("words")


def test_a_database_of_a_version_without_epochs_gets_them(uri: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "meta.sqlite")) as connection:
        connection.execute("CREATE TABLE mishards_writer (id INTEGER NOT NULL PRIMARY KEY, revision INTEGER NOT NULL)")
        connection.execute("INSERT INTO mishards_writer VALUES (1, 41)")
        connection.commit()
    catalog = WritableCatalog(open_engine(uri))
    catalog.prepare()
    catalog.prepare()
    assert catalog.claim() == 1
    catalog.close()
    with closing(sqlite3.connect(tmp_path / "meta.sqlite")) as connection:
        assert connection.execute("SELECT revision, epoch FROM mishards_writer").fetchall() == [(42, 1)]


def test_a_lease_is_taken_by_who_saw_it_last(writers: tuple[Catalog, Catalog], uri: str) -> None:
    table = LeaseTable(open_engine(uri), "any")
    seen = table.read()
    assert seen == LeaseRecord("", 0)
    assert table.take(seen, "a")
    assert not table.take(seen, "b")
    assert table.read() == LeaseRecord("a", 1)
    assert table.renew("a")
    assert not table.renew("b")
    assert not table.give_back("b")
    assert not table.take(LeaseRecord("a", 1), "b")
    assert table.take(LeaseRecord("a", 2), "b")
    assert not table.renew("a")
    assert table.give_back("b")
    assert table.read() == LeaseRecord("", 4)
    table.close()
