"""PostgreSQL with pgvector, asked by psycopg. IVF_FLAT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pgserver
import psycopg
from peers_program import TOPK, Floats, Search, main
from pgvector.psycopg import register_vector

_NEAREST = """
SELECT q.place, near.id
FROM unnest(%s::vector[]) WITH ORDINALITY AS q(v, place)
CROSS JOIN LATERAL (SELECT id FROM items ORDER BY v <-> q.v LIMIT %s) AS near
"""


class Postgres:
    """One server on a Unix socket."""

    settings = (16, 24, 32, 48, 64, 128)

    def __init__(self, folder: Path, port: int) -> None:
        self._server = pgserver.get_server(str(folder / "postgres"), cleanup_mode="stop")

    def _connected(self) -> psycopg.Connection:
        connection = psycopg.connect(self._server.get_uri(), autocommit=True)
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        return connection

    def load(self, rows: Floats) -> None:
        """Copy, build, and have the statistics made."""
        connection = self._connected()
        connection.execute(f"CREATE TABLE items (id bigint, v vector({rows.shape[1]}))")
        with connection.cursor().copy("COPY items (id, v) FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "vector"])
            for number, row in enumerate(rows):
                copy.write_row((number, row))
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("CREATE INDEX ON items USING ivfflat (v vector_l2_ops) WITH (lists = 1024)")
        connection.execute("VACUUM ANALYZE items")

    def searcher(self, setting: int) -> Search:
        """One statement for all queries."""
        connection = self._connected()
        connection.execute(f"SET ivfflat.probes = {setting}")
        connection.execute("SET enable_seqscan = off")

        def search(queries: Floats) -> list[list[int]]:
            found: list[list[int]] = [[] for _ in queries]
            for place, number in connection.execute(_NEAREST, (list(np.asarray(queries)), TOPK)).fetchall():
                found[place - 1].append(number)
            return found

        return search

    def close(self) -> None:
        """Stop it."""
        self._server.cleanup()


if __name__ == "__main__":
    main(Postgres)
