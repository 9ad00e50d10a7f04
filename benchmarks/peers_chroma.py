"""Chroma's server, asked by its own client over HTTP. HNSW; it has no inverted lists."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import chromadb
from peers_program import TOPK, Floats, Search, main

_STEP = 2_000


class Chroma:
    """One server."""

    settings = (16, 32, 64, 96, 128, 192, 256, 512)

    def __init__(self, folder: Path, port: int) -> None:
        program = Path(sys.executable).parent / "chroma"
        command = [str(program), "run", "--path", str(folder / "chroma"), "--host", "127.0.0.1", "--port", str(port)]
        self._port = port
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self._client().heartbeat()
                return
            except (ValueError, OSError):
                time.sleep(0.2)
        raise SystemExit("chroma does not answer")

    def _client(self) -> chromadb.api.ClientAPI:
        return chromadb.HttpClient(host="127.0.0.1", port=self._port)

    def load(self, rows: Floats) -> None:
        """Add rows, until all are in the graph."""
        graph = {"space": "l2", "max_neighbors": 16, "ef_construction": 200, "ef_search": 64, "sync_threshold": 1000}
        collection = self._client().create_collection("rows", configuration={"hnsw": graph}, embedding_function=None)
        for start in range(0, len(rows), _STEP):
            part = rows[start : start + _STEP]
            collection.add(ids=[str(number) for number in range(start, start + len(part))], embeddings=part)

    def searcher(self, setting: int) -> Search:
        """One call for all queries."""
        collection = self._client().get_collection("rows", embedding_function=None)
        if collection.configuration["hnsw"]["ef_search"] != setting:
            collection.modify(configuration={"hnsw": {"ef_search": setting}})

        def search(queries: Floats) -> list[list[int]]:
            found = collection.query(query_embeddings=queries, n_results=TOPK, include=[])
            return [[int(number) for number in ids] for ids in found["ids"]]

        return search

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(60)


if __name__ == "__main__":
    main(Chroma)
