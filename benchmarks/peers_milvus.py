"""Milvus 2.3, the server that its Python package brings along, asked by its own client. IVF_FLAT."""

from __future__ import annotations

import uuid
from pathlib import Path

from milvus import MilvusServer
from peers_program import TOPK, Floats, Search, main
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

_STEP = 20_000


class Milvus:
    """One standalone server."""

    settings = (16, 24, 32, 48, 64, 128)

    def __init__(self, folder: Path, port: int) -> None:
        self._server = MilvusServer()
        self._server.set_base_dir(str(folder / "milvus"))
        self._server.listen_port = port
        self._server.start()

    def _connected(self) -> str:
        name = uuid.uuid4().hex
        connections.connect(name, host="127.0.0.1", port=str(self._server.listen_port))
        return name

    def load(self, rows: Floats) -> None:
        """Insert, flush, build, load."""
        vector = FieldSchema("v", DataType.FLOAT_VECTOR, dim=rows.shape[1])
        schema = CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True), vector])
        collection = Collection("c", schema, using=self._connected())
        for start in range(0, len(rows), _STEP):
            part = rows[start : start + _STEP]
            collection.insert([list(range(start, start + len(part))), part])
        collection.flush()
        collection.create_index("v", {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 1024}})
        collection.load()

    def searcher(self, setting: int) -> Search:
        """One call for all queries."""
        collection = Collection("c", using=self._connected())
        params = {"metric_type": "L2", "params": {"nprobe": setting}}
        return lambda queries: [hits.ids for hits in collection.search(queries, "v", params, TOPK)]

    def close(self) -> None:
        """Stop it."""
        self._server.stop()


if __name__ == "__main__":
    main(Milvus)
