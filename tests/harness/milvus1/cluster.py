"""Nodes of the double over one folder and one database, taken down together."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from harness.milvus1.client import NodeClient
from harness.milvus1.node import Milvus1Double
from harness.milvus1.options import Options, Role

QUIET: dict[str, Any] = {"auto_flush_interval_s": 0, "build_threshold": 20}
"""Nothing is flushed but what a test flushes, and segments of a few rows are indexed."""


class Cluster:
    """Nodes inside this process that share ``storage`` and ``uri``; ``close`` stops them and their clients."""

    def __init__(self, folder: Path, uri: str = "") -> None:
        """Describe a cluster below ``folder``; without ``uri`` its database is a SQLite file there."""
        self.storage = folder / "storage"
        self.uri = uri or f"sqlite:///{folder / 'meta.sqlite'}"
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, role: Role, **options: Any) -> tuple[Milvus1Double, NodeClient]:
        """Start a node and connect to it; its options are ``QUIET`` unless ``options`` say otherwise."""
        node = Milvus1Double(role, self.uri, self.storage, options=Options(**{**QUIET, **options}))
        self._open.enter_context(node)
        return node, self._open.enter_context(NodeClient(node.address))

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on the database: what somebody else sees now."""
        url = self.uri.replace("mysql://", "mysql+pymysql://", 1)
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def files(self) -> dict[int, int]:
        """Return ``file_type`` of every file, by row id."""
        return dict(self.rows("SELECT id, file_type FROM TableFiles ORDER BY id"))

    def close(self) -> None:
        """Stop every node and client, the last one first."""
        self._open.close()
