from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import CreateTable

from mishards.catalog.engine import open_engine
from mishards.catalog.tables import metadata
from mishards.catalog.transaction import WritableCatalog

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "catalog"

MILVUS_COLUMNS = {
    "Tables": (
        "id table_id state dimension created_on flag index_file_size engine_type index_params metric_type owner_table "
        "partition_tag version flush_lsn"
    ),
    "TableFiles": (
        "id table_id segment_id engine_type file_id file_type file_size row_count updated_time created_on date "
        "flush_lsn"
    ),
    "Environment": "global_lsn",
    "Fields": "collection_id field_name field_type field_params",
}
"""In this order: a Milvus server inserts by position."""


@pytest.mark.parametrize("dialect", [mysql.dialect(), sqlite.dialect()], ids=["mysql", "sqlite"])
def test_the_tables_are_made_as_they_always_were(dialect: Dialect) -> None:
    statements = [str(CreateTable(table).compile(dialect=dialect)).strip() for table in metadata.tables.values()]
    made = "".join("\n".join(line.rstrip() for line in text.splitlines()) + ";\n\n" for text in statements)
    assert made == (GOLDEN / f"{dialect.name}.sql").read_text()


def test_a_milvus_server_finds_its_columns_in_its_order() -> None:
    for name, columns in MILVUS_COLUMNS.items():
        assert [column.name for column in metadata.tables[name].columns] == columns.split()


def test_tables_of_our_own_bear_our_prefix() -> None:
    assert all(name.startswith("mishards_") for name in metadata.tables.keys() - MILVUS_COLUMNS.keys())


def test_on_sqlite_there_are_integers_and_texts_only(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'meta.sqlite'}")
    WritableCatalog(engine).initialise()
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "meta.sqlite")) as connection:
        for name in MILVUS_COLUMNS:
            found = connection.execute(f"PRAGMA table_info('{name}')").fetchall()
            assert {row[2] for row in found} <= {"INTEGER", "TEXT"}
