from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from harness.catalog import Catalog, raw_file
from harness.mariadb import Database, MariaDB
from harness.waiting import eventually
from mishards.catalog.files import Deletion, Expected, NewFile
from mishards.catalog.records import FileType
from mishards.catalog.tables import environment, metadata, writer
from mishards.errors import CatalogError
from mishards.kinds import IndexType

WAIT_S = 30.0

MILVUS_TYPES = {
    "Tables": "bigint varchar int smallint bigint bigint bigint int varchar int varchar varchar varchar bigint",
    "TableFiles": "bigint varchar varchar int varchar int bigint bigint bigint bigint int bigint",
    "Environment": "bigint",
    "Fields": "varchar varchar int varchar",
}
"""How the type of each column begins, in order, where a Milvus server accepts the table."""

MILVUS_TABLES = (
    "CREATE TABLE Tables (id BIGINT PRIMARY KEY AUTO_INCREMENT, table_id VARCHAR(255) UNIQUE NOT NULL,"
    " state INT NOT NULL, dimension SMALLINT NOT NULL, created_on BIGINT NOT NULL, flag BIGINT DEFAULT 0 NOT NULL,"
    " index_file_size BIGINT DEFAULT 1024 NOT NULL, engine_type INT DEFAULT 1 NOT NULL,"
    " index_params VARCHAR(512) NOT NULL, metric_type INT DEFAULT 1 NOT NULL, owner_table VARCHAR(255) NOT NULL,"
    " partition_tag VARCHAR(255) NOT NULL, version VARCHAR(64) DEFAULT '1.0.0' NOT NULL,"
    " flush_lsn BIGINT DEFAULT 0 NOT NULL, note INT DEFAULT 0, INDEX by_owner (owner_table))",
    "CREATE TABLE TableFiles (id BIGINT PRIMARY KEY AUTO_INCREMENT, table_id VARCHAR(255) NOT NULL,"
    " segment_id VARCHAR(255) NOT NULL, engine_type INT DEFAULT 1 NOT NULL, file_id VARCHAR(255) NOT NULL,"
    " file_type INT DEFAULT 0 NOT NULL, file_size BIGINT DEFAULT 0 NOT NULL, row_count BIGINT DEFAULT 0 NOT NULL,"
    " updated_time BIGINT NOT NULL, created_on BIGINT NOT NULL, date INT DEFAULT -1 NOT NULL,"
    " flush_lsn BIGINT DEFAULT 0 NOT NULL, INDEX by_table (table_id, file_type))",
    "CREATE TABLE Environment (global_lsn BIGINT DEFAULT 0 NOT NULL)",
    "CREATE TABLE Fields (collection_id VARCHAR(255) NOT NULL, field_name VARCHAR(255) NOT NULL,"
    " field_type INT DEFAULT 0 NOT NULL, field_params VARCHAR(255) NOT NULL)",
)
MILVUS_ROWS = (
    "INSERT INTO Tables VALUES"
    " (1,'u1',0,128,1795311037998900,2,2097152,2,'{\"nlist\":64}',1,'','','1.0.0',5200023,0),"
    " (2,'1795311038198151000',0,128,1795311038198151,0,2097152,2,'{\"nlist\":64}',1,'u1','p1','1.0.0',6240048,0)",
    "INSERT INTO TableFiles VALUES"
    " (1,'u1','1795311037998941000',1,'1795311037998941000',7,5200000,10000,1795311041200500,1795311037998941,0,0),"
    " (2,'1795311038198151000','1795311038721313000',1,'1795311038721313000',1,1040000,2000,"
    "  1795311038721400,1795311038721313,1261022,0),"
    " (3,'u1','1795311037998941000',2,'1795311041200422000',3,5233442,10000,1795311041200422,1795311041200422,0,0)",
    "INSERT INTO Environment VALUES (52680272)",
)
"""What a Milvus 1.0 server left after an IVF_FLAT index on 12,000 rows in two partitions; an operator added more."""


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


@pytest.fixture(params=["sqlite", "mariadb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'meta.sqlite'}"
    return str(request.getfixturevalue("mysql_database").uri)


def rows_of(mariadb: MariaDB, database: Database, table: str) -> list[tuple[Any, ...]]:
    return mariadb.execute(f"SELECT * FROM `{database.name}`.`{table}`")  # noqa: S608 - names of the test's own


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_milvus_server_finds_the_columns_and_types_that_it_checks(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open
) -> None:
    open_catalog(mysql_database.uri).writable.initialise()
    for name, types in MILVUS_TYPES.items():
        described = mariadb.execute(f"DESC `{mysql_database.name}`.`{name}`")
        assert [row[0] for row in described] == [column.name for column in metadata.tables[name].columns]
        for row, expected in zip(described, types.split(), strict=True):
            assert row[1].startswith(expected)


def test_the_largest_dimension_is_recorded_as_it_is(mysql_database: Database, open_catalog: Open) -> None:
    catalog = open_catalog(mysql_database.uri)
    catalog.writable.initialise()
    catalog.create(dimension=32768)
    assert catalog.collection().dimension == 32768


def test_a_database_that_milvus_made_is_read_and_written(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open
) -> None:
    catalog = open_catalog(mysql_database.uri)
    with catalog.engine.begin() as connection:
        for statement in (*MILVUS_TABLES, *MILVUS_ROWS):
            connection.execute(text(statement.replace(":", r"\:")))
    catalog.writable.initialise()
    collection = catalog.collection("u1")
    assert collection.partition_tags == ("_default", "p1")
    assert (collection.rows, collection.index_type, collection.index_params) == (
        12000,
        IndexType.IVF_FLAT,
        '{"nlist":64}',
    )
    indexed, small = collection.segments
    assert (indexed.file.id, indexed.raw and indexed.raw.id, small.file.id) == (3, 1, 2)
    catalog.flush("9", name="u1", deletions=(Deletion("u1", "1795311037998941000", 9990),))
    catalog.create("new")
    assert catalog.collection("u1").rows == 9990 + 10 + 2000
    assert rows_of(mariadb, mysql_database, "Environment") == [(52680272,)]


def test_what_does_not_fit_a_column_is_refused_and_never_cut(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open
) -> None:
    before = mariadb.execute("SELECT @@GLOBAL.sql_mode")[0][0]
    mariadb.execute("SET GLOBAL sql_mode = ''")
    try:
        catalog = open_catalog(mysql_database.uri)
        with catalog.engine.begin() as connection:
            for statement in MILVUS_TABLES:
                connection.execute(text(statement))
        catalog.writable.initialise()
        with pytest.raises(CatalogError, match="dimension"):
            catalog.create(dimension=32768)  # a Milvus server made the column one too small
        catalog.create()
        with pytest.raises(CatalogError, match="index_params"):
            catalog.definitions.set_index(["words"], IndexType.HNSW, "x" * 513)
        assert list(catalog.reader.read(None).collections) == ["words"]
        assert catalog.collection().index_params == "{}"
    finally:
        mariadb.execute("SET GLOBAL sql_mode = %s", before)


@pytest.mark.parametrize("attempt", range(3))
def test_many_writers_may_initialise_one_database_at_once(uri: str, open_catalog: Open, attempt: int) -> None:
    catalogs = [open_catalog(uri) for _ in range(6)]
    together = threading.Barrier(len(catalogs))

    def initialise(catalog: Catalog) -> None:
        together.wait(WAIT_S)
        catalog.writable.initialise()

    with ThreadPoolExecutor(len(catalogs)) as pool:
        list(pool.map(initialise, catalogs))
    with catalogs[0].engine.connect() as connection:
        for table in (environment, writer):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1


# --- reading ---------------------------------------------------------------------------------------------------------


def test_an_account_that_may_only_read_can_read(mysql_database: Database, open_catalog: Open) -> None:
    owner, reader = open_catalog(mysql_database.uri), open_catalog(mysql_database.readonly_uri)
    assert reader.reader.read(None).collections == {}
    owner.writable.initialise()
    owner.create()
    owner.flush("1")
    assert len(reader.collection().segments) == 1
    with pytest.raises(CatalogError, match="denied"):
        reader.create("other")


def test_an_account_that_may_read_the_milvus_tables_only_can_read(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open
) -> None:
    owner = open_catalog(mysql_database.uri)
    owner.writable.initialise()
    owner.create()
    user, name = f"`{mysql_database.name}_reader`@`127.0.0.1`", mysql_database.name
    mariadb.execute(f"REVOKE SELECT ON `{name}`.* FROM {user}")  # noqa: S608 - names of the test's own
    for table in ("Tables", "TableFiles"):
        mariadb.execute(f"GRANT SELECT ON `{name}`.`{table}` TO {user}")
    snapshot = open_catalog(mysql_database.readonly_uri).reader.read(None)
    assert (snapshot.revision, list(snapshot.collections)) == (0, ["words"])


def test_one_moment_is_read_whatever_the_server_defaults_to(
    mariadb: MariaDB, mysql_database: Database, open_catalog: Open
) -> None:
    mariadb.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED")
    try:
        catalog = open_catalog(mysql_database.uri)
        catalog.writable.initialise()
        catalog.create()
        catalog.flush("1")
        dropped: list[bool] = []

        def drop_in_between(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if "TableFiles" in statement and not dropped:
                dropped.append(True)
                catalog.definitions.drop(["words"])

        event.listen(catalog.reader._engine, "before_cursor_execute", drop_in_between)
        assert len(catalog.collection().segments) == 1
        assert catalog.reader.read(None).collections == {}
    finally:
        mariadb.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ")


# --- writing at the same time ----------------------------------------------------------------------------------------


def test_threads_that_change_everything_at_once_get_in_no_ones_way(uri: str, open_catalog: Open) -> None:
    """On MySQL each change locks all of TableFiles, so unordered ones would end in deadlocks."""
    catalog = open_catalog(uri)
    catalog.writable.initialise()
    names = [f"c{number}" for number in range(4)]
    for name in names:
        catalog.create(name)

    def change(name: str) -> None:
        for step in range(1, 11):
            old, new = f"{name}{step - 1}", f"{name}{step}"
            deletions = [Deletion(name, old, 9)] if step > 1 else []
            catalog.files.flush([raw_file(new, name)], deletions, step, [name])
            with catalog.writable.reading() as connection:
                rows = connection.execute(
                    text("SELECT id, file_type, updated_time FROM TableFiles WHERE segment_id = :old"), {"old": old}
                ).all()
            catalog.files.replace([Expected(*row) for row in rows], [old], [])
            catalog.definitions.set_index([name], IndexType.HNSW, "{}")

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(change, names))
    for name in names:
        assert [segment.segment_id for segment in catalog.collection(name).segments] == [f"{name}10"]


def test_a_reader_that_polls_never_sees_a_gap_or_a_double(uri: str, open_catalog: Open) -> None:
    catalog = open_catalog(uri)
    catalog.writable.initialise()
    catalog.create()
    catalog.flush("0")
    done = threading.Event()
    wrong: list[list[str]] = []
    reads = [0]

    def poll() -> None:
        reader, snapshot = open_catalog(uri).reader, None
        while not done.is_set():
            snapshot = reader.read(snapshot)
            seen = [segment.segment_id for segment in snapshot.collection("words").segments]
            reads[0] += 1
            if len(seen) != 1:
                wrong.append(seen)

    polling = threading.Thread(target=poll)
    polling.start()
    try:
        eventually(lambda: reads[0], WAIT_S, "the reader reads")
        for step in range(1, 26):
            _replace_index_and_drop_the_index(catalog, str(step))
    finally:
        done.set()
        polling.join(WAIT_S)
    assert reads[0] > 25
    assert wrong == []


def _replace_index_and_drop_the_index(catalog: Catalog, name: str) -> None:
    (old,) = catalog.collection().segments
    catalog.flush(deletions=(Deletion("words", old.segment_id, 9),))
    (old,) = catalog.collection().segments
    catalog.files.replace([Expected.of(old.file)], [old.segment_id], [raw_file(name)])
    catalog.files.mark_to_index([catalog.collection().segments[0].file.id])
    (new,) = catalog.collection().segments
    index = NewFile("words", name, f"{name}1", FileType.INDEX, IndexType.HNSW, 10, 10)
    catalog.files.index_built(Expected.of(new.file), index)
    catalog.definitions.drop_index(["words"], IndexType.FLAT)
    catalog.files.forget(catalog.files.retired(0))
