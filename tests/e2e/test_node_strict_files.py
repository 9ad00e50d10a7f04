"""A node asked by a router refuses files that it does not know; asked by a client, it passes over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from harness.rpc import Rpc, params, records
from harness.servers import node
from harness.vectors import gaussian
from mishards.wire.extensions import REVISION_KEY
from mishards.wire.protos import milvus_pb2 as pb


def test_an_unknown_file_is_refused_only_where_the_revision_is_told(tmp_path: Path) -> None:
    base = gaussian(10, 8)
    with node(tmp_path) as server:
        address = server.launch()
        with Rpc(address) as rpc:
            rpc.call("CreateCollection", collection_name="c", dimension=8, index_file_size=16, metric_type=1)
            rpc.call("Insert", collection_name="c", row_record_array=records(base), row_id_array=range(10))
            rpc.call("Flush", collection_name_array=["c"])
            search = pb.SearchParam(
                collection_name="c", query_record_array=records(base[:1]), topk=1, extra_params=params()
            )
            lenient = rpc.call("SearchInFiles", file_id_array=["1", "999"], search_param=search)
            assert list(lenient.ids) == [0]
            request = pb.SearchInFilesParam(file_id_array=["1", "999"], search_param=search)
            with grpc.insecure_channel(address) as channel:
                stub: Any = channel.unary_unary("/milvus.grpc.MilvusService/SearchInFiles")
                raw = stub(request.SerializeToString(), timeout=20, metadata=[(REVISION_KEY, "1")])
            strict = pb.TopKQueryResult.FromString(raw)
            assert (strict.status.error_code, strict.status.reason) == (1, "Invalid file id")
