"""The metadata tables of Milvus 1.x; the only place where a column is named.

Columns, their order and their types are the contract with Milvus 1.x nodes: such a node must start on a database that
was made here. On SQLite, ids are declared AUTOINCREMENT so that the id of a removed row is never given again. MySQL's
``dimension`` is an *unsigned* SMALLINT: 32768 is a legal dimension and does not fit the signed one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, String, Table
from sqlalchemy.dialects.mysql import SMALLINT

metadata = MetaData()

_BIGINT = BigInteger().with_variant(Integer(), "sqlite")

tables = Table(
    "Tables",
    metadata,
    Column("id", _BIGINT, primary_key=True, autoincrement=True),
    Column("table_id", String(255), nullable=False, unique=True),
    Column("state", Integer, nullable=False),
    Column("dimension", SmallInteger().with_variant(SMALLINT(unsigned=True), "mysql", "mariadb"), nullable=False),
    Column("created_on", BigInteger, nullable=False),
    Column("flag", BigInteger, nullable=False, server_default="0"),
    Column("index_file_size", BigInteger, nullable=False, server_default="1024"),
    Column("engine_type", Integer, nullable=False, server_default="1"),
    Column("index_params", String(512), nullable=False),
    Column("metric_type", Integer, nullable=False, server_default="1"),
    Column("owner_table", String(255), nullable=False),
    Column("partition_tag", String(255), nullable=False),
    Column("version", String(64), nullable=False, server_default="1.1.0"),
    Column("flush_lsn", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)

table_files = Table(
    "TableFiles",
    metadata,
    Column("id", _BIGINT, primary_key=True, autoincrement=True),
    Column("table_id", String(255), nullable=False),
    Column("segment_id", String(255), nullable=False),
    Column("engine_type", Integer, nullable=False, server_default="1"),
    Column("file_id", String(255), nullable=False),
    Column("file_type", Integer, nullable=False, server_default="0"),
    Column("file_size", BigInteger, nullable=False, server_default="0"),
    Column("row_count", BigInteger, nullable=False, server_default="0"),
    Column("updated_time", BigInteger, nullable=False),
    Column("created_on", BigInteger, nullable=False),
    Column("date", Integer, nullable=False, server_default="-1"),
    Column("flush_lsn", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)

environment = Table(
    "Environment",
    metadata,
    Column("global_lsn", BigInteger, nullable=False, server_default="0"),
)

writer = Table(
    "mishards_writer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False, server_default="0"),
)
"""Our own: one row. ``revision`` rises with every change that a writable node of ours makes."""

fields = Table(
    "Fields",
    metadata,
    Column("collection_id", String(255), nullable=False),
    Column("field_name", String(255), nullable=False),
    Column("field_type", Integer, nullable=False, server_default="0"),
    Column("field_params", String(255), nullable=False),
)
