"""Replica numbers in real databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.mariadb import Database, MariaDB
from mishards.catalog.drains import DrainWriter
from mishards.catalog.engine import open_engine
from mishards.catalog.replicas import ReplicaWriter
from mishards.catalog.tables import drained_nodes, replica_numbers
from mishards.errors import CatalogError


@pytest.fixture(params=["sqlite", "mariadb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'meta.sqlite'}"
    return str(request.getfixturevalue("mysql_database").uri)


@pytest.fixture
def catalog(uri: str) -> Iterator[Catalog]:
    made = Catalog(uri)
    made.writable.initialise()
    yield made
    made.close()


@pytest.fixture
def numbers(uri: str) -> Iterator[ReplicaWriter]:
    writer = ReplicaWriter(open_engine(uri))
    yield writer
    writer.close()


def test_a_number_is_read_with_the_next_snapshot_and_taken_back(catalog: Catalog, numbers: ReplicaWriter) -> None:
    catalog.create("words")
    before = catalog.reader.read(None)
    assert before.collection("words").replicas is None
    for number in (3, 2, None):
        numbers.set(before.collection("words"), number)
        after = catalog.reader.read(before)
        assert after.collection("words").replicas == number
        assert after.version > before.version
        before = after


def test_a_number_goes_with_its_collection(catalog: Catalog, numbers: ReplicaWriter) -> None:
    catalog.create("words")
    old = catalog.collection()
    numbers.set(old, 3)
    catalog.definitions.drop(["words"])
    catalog.create("words")
    assert catalog.collection().replicas is None
    numbers.set(old, 4)  # a router that has not heard of it
    assert catalog.collection().replicas is None


def test_the_table_is_made_where_a_milvus_server_made_the_database(catalog: Catalog, numbers: ReplicaWriter) -> None:
    catalog.create("words")
    replica_numbers.drop(catalog.engine)
    found = catalog.collection()
    assert found.replicas is None
    numbers.set(found, 2)
    assert catalog.collection().replicas == 2


def test_a_drained_node_is_read_with_the_next_snapshot_and_changes_no_version(catalog: Catalog, uri: str) -> None:
    writer = DrainWriter(open_engine(uri))
    before = catalog.reader.read(None)
    assert before.drained == frozenset()
    drained_nodes.drop(catalog.engine)  # as where a Milvus server made the database
    for node, drained, expected in (
        ("a", True, {"a"}),
        ("b", True, {"a", "b"}),
        ("a", True, {"a", "b"}),
        ("a", False, {"b"}),
    ):
        writer.set(node, drained)
        after = catalog.reader.read(before)
        assert (set(after.drained), after.version) == (expected, before.version)
        before = after
    writer.close()


def test_an_account_that_may_only_read_gets_a_clear_error(mariadb: MariaDB, mysql_database: Database) -> None:
    catalog = Catalog(mysql_database.uri)
    catalog.writable.initialise()
    catalog.create("words")
    reader = ReplicaWriter(open_engine(mysql_database.readonly_uri))
    drains = DrainWriter(open_engine(mysql_database.readonly_uri))
    try:
        with pytest.raises(CatalogError, match="needs the right to write mishards_replicas"):
            reader.set(catalog.collection(), 2)
        with pytest.raises(CatalogError, match="needs the right to write mishards_drained"):
            drains.set("a", True)
        assert catalog.collection().replicas is None
    finally:
        reader.close()
        drains.close()
        catalog.close()


def test_a_database_that_may_only_be_read_gets_a_clear_error(tmp_path: Path) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'meta.sqlite'}")
    catalog.writable.initialise()
    catalog.create("words")
    engine = open_engine(f"sqlite:///{tmp_path / 'meta.sqlite'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    reader = ReplicaWriter(engine)
    with pytest.raises(CatalogError, match="needs the right to write mishards_replicas"):
        reader.set(catalog.collection(), 2)
    reader.close()
    catalog.close()
