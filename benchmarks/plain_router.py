"""The router that one writes first, kept as the baseline of ``fanout.py``: synchronous grpcio and protobuf objects.

Each search is parsed into objects, its vectors are built anew for every node, the nodes are asked by futures, and the
answers are merged as Python lists. No catalog, no failover, no metrics: which node has which file is given.

    python benchmarks/plain_router.py ORDER.json     # {"nodes": {"HOST:PORT": [FILE_ID, …], …}}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from mishards.transport.api import SERVICE
from mishards.wire.protos import milvus_pb2 as pb

THREADS = 16
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


class PlainRouter:
    """Searches all nodes and merges."""

    def __init__(self, nodes: Mapping[str, Sequence[int]]) -> None:
        self._nodes: list[tuple[Any, list[str]]] = []
        for address, files in nodes.items():
            channel: Any = grpc.insecure_channel(address, options=_OPTIONS)
            call = channel.unary_unary(
                f"/{SERVICE}/SearchInFiles",
                request_serializer=pb.SearchInFilesParam.SerializeToString,
                response_deserializer=pb.TopKQueryResult.FromString,
            )
            self._nodes.append((call, [str(file) for file in files]))

    def search(self, request: pb.SearchParam, _context: grpc.ServicerContext) -> pb.TopKQueryResult:
        """Ask all nodes at once; the nearest of what they answer."""
        vectors = [list(row.float_data) for row in request.query_record_array]
        asked = [self._ask(node, request, vectors) for node in self._nodes]
        return merged([reply.result() for reply in asked], len(vectors), request.topk)

    def _ask(self, node: tuple[Any, list[str]], request: pb.SearchParam, vectors: Sequence[Sequence[float]]) -> Any:
        call, files = node
        own = pb.SearchParam(
            collection_name=request.collection_name,
            topk=request.topk,
            query_record_array=[pb.RowRecord(float_data=vector) for vector in vectors],
            extra_params=request.extra_params,
        )
        return call.future(pb.SearchInFilesParam(file_id_array=files, search_param=own), timeout=60)


def merged(replies: Sequence[pb.TopKQueryResult], rows: int, topk: int) -> pb.TopKQueryResult:
    """The nearest hits of each row, hit by hit."""
    ids: list[int] = []
    distances: list[float] = []
    lists = [(list(reply.ids), list(reply.distances), len(reply.ids) // rows) for reply in replies]
    for row in range(rows):
        hits: list[tuple[float, int]] = []
        for found, far, width in lists:
            for at in range(row * width, (row + 1) * width):
                hits.append((far[at], found[at]))  # noqa: PERF401 - as one writes it first
        hits.sort()
        ids.extend(found for _, found in hits[:topk])
        distances.extend(far for far, _ in hits[:topk])
    return pb.TopKQueryResult(status=replies[0].status, row_num=rows, ids=ids, distances=distances)


def main() -> None:
    """Serve until terminated."""
    router = PlainRouter(json.loads(Path(sys.argv[1]).read_text())["nodes"])
    server = grpc.server(ThreadPoolExecutor(THREADS), options=_OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(
        router.search,
        request_deserializer=pb.SearchParam.FromString,
        response_serializer=pb.TopKQueryResult.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Search": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"ready 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
