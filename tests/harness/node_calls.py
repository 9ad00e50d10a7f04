"""Calls that most tests of a running node make, checked for success."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.rpc import Rpc, params, records
from harness.vectors import Floats, Ids

L2 = 1
FLAT, IVF_FLAT, HNSW = 1, 2, 11


class NodeCalls(Rpc):
    """A channel to one node, with the calls of a well-behaved client."""

    def __enter__(self) -> NodeCalls:
        return self

    def ok(self, method: str, timeout_s: float = 30, **fields: Any) -> Any:
        """Call a method and return its reply, which is a success."""
        reply = self.call(method, timeout_s=timeout_s, **fields)
        assert status(reply) == (0, "OK"), (method, status(reply))
        return reply

    def create(self, name: str, *, dimension: int, megabytes: int = 1024) -> None:
        """Make a collection of L2 vectors."""
        self.ok(
            "CreateCollection",
            collection_name=name,
            dimension=dimension,
            index_file_size=megabytes,
            metric_type=L2,
        )

    def try_insert(self, name: str, vectors: Floats, first_id: int = 0) -> tuple[int, str]:
        """Insert rows with ids that count from ``first_id``; return code and reason."""
        ids = range(first_id, first_id + len(vectors))
        return status(self.call("Insert", collection_name=name, row_record_array=records(vectors), row_id_array=ids))

    def insert(self, name: str, vectors: Floats, first_id: int = 0, *, flush: bool = True) -> None:
        """Insert rows with ids that count from ``first_id``, and flush them."""
        assert self.try_insert(name, vectors, first_id) == (0, "OK")
        if flush:
            self.flush(name)

    def flush(self, name: str) -> None:
        """Flush one collection."""
        self.ok("Flush", collection_name_array=[name])

    def count(self, name: str) -> int:
        """The live rows that are visible."""
        return int(self.ok("CountCollection", collection_name=name).collection_row_count)

    def search(self, name: str, queries: Floats, topk: int = 1, text: str = "{}") -> Ids:
        """The ids of the nearest rows, int64[nq, width]."""
        reply = self.ok(
            "Search",
            collection_name=name,
            query_record_array=records(queries),
            topk=topk,
            extra_params=params(text),
        )
        return np.asarray(reply.ids, np.int64).reshape(len(queries), -1)

    def create_index(self, name: str, index_type: int, text: str, timeout_s: float = 60) -> Any:
        """Build an index; return the status whatever it is."""
        return self.call(
            "CreateIndex",
            timeout_s=timeout_s,
            collection_name=name,
            index_type=index_type,
            extra_params=params(text),
        )

    def running(self) -> list[str]:
        """The methods of the calls under way at the node, one entry a call."""
        listed: Sequence[str] = json.loads(self.ok("Cmd", cmd="requests").string_reply)["requests"]
        return [entry.rpartition("-")[0] for entry in listed]


def status(reply: Any) -> tuple[int, str]:
    """Code and reason of any reply."""
    found = getattr(reply, "status", reply)
    return found.error_code, found.reason
