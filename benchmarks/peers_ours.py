"""Our cluster, router and two nodes, asked by grpcio with the messages of the protocol.

    python benchmarks/peers_ours.py FOLDER PORT KIND

``KIND`` is IVF_FLAT or HNSW. The rows are in two segments, so that each node holds one.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cluster import cluster
from node_load import Client, configured, create, search_request
from peers_program import TOPK, Floats, Search, main
from routers import router, static

from mishards.kinds import IndexType
from mishards.transport.api import SERVICE
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.vectors import encode_rows

_BUILDS = {IndexType.IVF_FLAT: '{"nlist": 1024}', IndexType.HNSW: '{"M": 16, "efConstruction": 200}'}
_PARAMS = {IndexType.IVF_FLAT: '{{"nprobe": {}}}', IndexType.HNSW: '{{"ef": {}}}'}
_SETTINGS = {IndexType.IVF_FLAT: (16, 24, 32, 48, 64, 128), IndexType.HNSW: (16, 32, 64, 96, 128, 192, 256, 512)}
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_SEGMENTS = 2


class Ours:
    """A router before a writable and two read-only nodes, which search."""

    def __init__(self, folder: Path, port: int, kind: IndexType) -> None:
        self.settings = (
            (16, 24, 32, 48, 64, 128) if kind is IndexType.IVF_FLAT else (16, 32, 64, 96, 128, 192, 256, 512)
        )
        self._folder, self._kind, self._stack = folder / f"ours-{kind.name}", kind, ExitStack()
        self._address = ""

    def load(self, rows: Floats) -> None:
        """Insert, flush each half, build; then start the cluster."""
        half = -(-len(rows) // _SEGMENTS)
        with configured(self._folder, core=None, auto_flush=False) as client:
            create(client, "c", max(1, half * rows[0].nbytes >> 20))
            for start in range(0, len(rows), half):
                self._insert(client, start, rows[start : start + half])
            params = [pb.KeyValuePair(key="params", value=_BUILDS[self._kind])]
            client.ok("CreateIndex", pb.IndexParam(collection_name="c", index_type=self._kind, extra_params=params))
        nodes = self._stack.enter_context(cluster(self._folder, _SEGMENTS))
        started = router(self._folder, nodes.metadata, static(nodes.writable, nodes.readonly), core=None)
        _, self._address = self._stack.enter_context(started)

    def _insert(self, client: Client, start: int, rows: Floats) -> None:
        head = pb.InsertParam(collection_name="c", row_id_array=range(start, start + len(rows)))
        client.call("Insert", head.SerializeToString() + encode_rows(b"\x12", rows))
        client.ok("Flush", pb.FlushParam(collection_name_array=["c"]))

    def searcher(self, setting: int) -> Search:
        """One call for all queries."""
        channel: Any = grpc.insecure_channel(self._address, options=_OPTIONS)
        call, params = channel.unary_unary(f"/{SERVICE}/Search"), _PARAMS[self._kind].format(setting)

        def search(queries: Floats) -> Any:
            found = pb.TopKQueryResult.FromString(call(search_request("c", queries, TOPK, params), timeout=120))
            if found.status.error_code:
                raise SystemExit(found.status.reason)
            return np.array(found.ids).reshape(found.row_num, -1)

        return search

    def close(self) -> None:
        """Stop all of it."""
        self._stack.close()


if __name__ == "__main__":
    main(lambda folder, port: Ours(folder, port, IndexType[sys.argv[3]]))
