"""The metadata tables of Milvus 1.x; the only place where a column is named.

Columns, their order and their types are the contract with Milvus 1.x nodes: such a node must start on a database that
was made here. On SQLite a Milvus node knows INTEGER and TEXT only; ids are declared AUTOINCREMENT so that the id of a
removed row is never given again. MySQL's ``dimension`` is an *unsigned* SMALLINT: 32768 is a legal dimension and does
not fit the signed one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, String, Table, Text
from sqlalchemy.dialects.mysql import SMALLINT

metadata = MetaData()

_BIGINT = BigInteger().with_variant(Integer(), "sqlite")
_DIMENSION = SmallInteger().with_variant(SMALLINT(unsigned=True), "mysql", "mariadb").with_variant(Integer(), "sqlite")


def _text(length: int) -> Any:
    return String(length).with_variant(Text(), "sqlite")


_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}

tables = Table(
    "Tables",
    metadata,
    Column("id", _BIGINT, primary_key=True, autoincrement=True),
    Column("table_id", _text(255), nullable=False, unique=True),
    Column("state", Integer, nullable=False),
    Column("dimension", _DIMENSION, nullable=False),
    Column("created_on", _BIGINT, nullable=False),
    Column("flag", _BIGINT, nullable=False, server_default="0"),
    Column("index_file_size", _BIGINT, nullable=False, server_default="1024"),
    Column("engine_type", Integer, nullable=False, server_default="1"),
    Column("index_params", _text(512), nullable=False),
    Column("metric_type", Integer, nullable=False, server_default="1"),
    Column("owner_table", _text(255), nullable=False),
    Column("partition_tag", _text(255), nullable=False),
    Column("version", _text(64), nullable=False, server_default="1.1.0"),
    Column("flush_lsn", _BIGINT, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    **_MYSQL,
)

table_files = Table(
    "TableFiles",
    metadata,
    Column("id", _BIGINT, primary_key=True, autoincrement=True),
    Column("table_id", _text(255), nullable=False),
    Column("segment_id", _text(255), nullable=False),
    Column("engine_type", Integer, nullable=False, server_default="1"),
    Column("file_id", _text(255), nullable=False),
    Column("file_type", Integer, nullable=False, server_default="0"),
    Column("file_size", _BIGINT, nullable=False, server_default="0"),
    Column("row_count", _BIGINT, nullable=False, server_default="0"),
    Column("updated_time", _BIGINT, nullable=False),
    Column("created_on", _BIGINT, nullable=False),
    Column("date", Integer, nullable=False, server_default="-1"),
    Column("flush_lsn", _BIGINT, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
    **_MYSQL,
)

environment = Table(
    "Environment",
    metadata,
    Column("global_lsn", _BIGINT, nullable=False, server_default="0"),
    **_MYSQL,
)

writer = Table(
    "mishards_writer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", _BIGINT, nullable=False, server_default="0"),
    Column("epoch", _BIGINT, nullable=False, server_default="0"),
    **_MYSQL,
)
"""Our own: one row. ``revision`` rises with every change that a writable node of ours makes, ``epoch`` with every node
that begins to lead: a change of an earlier one is refused."""

leases = Table(
    "mishards_lease",
    metadata,
    Column("name", _text(64), primary_key=True),
    Column("holder", _text(1024), nullable=False, server_default=""),
    Column("turn", _BIGINT, nullable=False, server_default="0"),
    **_MYSQL,
)
"""Our own: who holds which lease. ``turn`` rises with every renewal; an empty ``holder`` is nobody."""

replica_numbers = Table(
    "mishards_replicas",
    metadata,
    Column("collection", _text(255), primary_key=True),
    Column("created_on", _BIGINT, nullable=False),
    Column("replicas", Integer, nullable=False),
    **_MYSQL,
)
"""Our own: how many nodes shall hold each segment of a collection, where that was set for it.

``created_on`` is the collection's: one that took the name of another begins without a number.
"""

drained_nodes = Table(
    "mishards_drained",
    metadata,
    Column("node", _text(255), primary_key=True),
    **_MYSQL,
)
"""Our own: the read-only nodes to which no router sends anything, because an operator said so."""

fields = Table(
    "Fields",
    metadata,
    Column("collection_id", _text(255), nullable=False),
    Column("field_name", _text(255), nullable=False),
    Column("field_type", Integer, nullable=False, server_default="0"),
    Column("field_params", _text(255), nullable=False),
    **_MYSQL,
)
