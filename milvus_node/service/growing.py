"""Search over growing rows: those that the log has and no segment yet.

A router that needs every acknowledged write asks for them besides the segments. View and catalog are taken so that no
row is in both or in neither: first the view of the insert buffer, then the catalog. A flush lets go of its rows only
after this node has read back the catalog that shows them, so what the view lacks the catalog has; and what both have
is told apart by the log position, which the catalog records in the transaction that shows the rows.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from milvus_node.catalog import NodeCatalog
from milvus_node.index.api import BuildParams, Vectors
from milvus_node.index.factory import build
from milvus_node.ingest.buffer import Ids, InsertBuffer, RowBytes
from milvus_node.search.searcher import Query
from milvus_node.service.jobs import Share
from milvus_node.service.searches import SearchCalls, checked, partitions_of
from mishards.catalog.snapshot import Collection
from mishards.errors import IllegalArgument
from mishards.kinds import IndexType
from mishards.topk import NO_ID, TopK
from mishards.transport.api import Call
from mishards.wire.extensions import GROWING_KEY
from mishards.wire.growing import Cut, with_cut
from mishards.wire.results import encode_result
from mishards.wire.search import SearchEnvelope


class GrowingCalls:
    """``Search`` of a writable node: over growing rows where the caller asks for them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog, buffer: InsertBuffer, searches: SearchCalls) -> None:
        self._catalog = catalog
        self._buffer = buffer
        self._searches = searches

    def search(self, call: Call) -> bytes | Share[bytes]:
        """Search; over segments unless the metadata asks for growing rows."""
        asked = dict(call.metadata).get(GROWING_KEY)
        return self._searches.search(call) if asked is None else self._growing(call, asked)

    def _growing(self, call: Call, asked: str) -> bytes:
        if not (asked.isascii() and asked.isdecimal()):
            raise IllegalArgument(f"metadata {GROWING_KEY} is {asked!r}; expected a log position in decimal")
        envelope = SearchEnvelope.scan(call.request)
        view = self._buffer.view(envelope.collection_name)  # before the catalog, see above
        snapshot = self._catalog.known()
        collection, query = checked(envelope, snapshot)
        position = max(int(asked), collection.table.flush_lsn)
        tables = [partition.table_id for partition in partitions_of(collection, envelope.partition_tags)]
        ids, rows = view.rows(tables, position)
        cut = Cut(snapshot.revision, position, max(position, view.last_lsn), view.deletes(tables, position))
        return with_cut(cut, encode_result(_nearest(collection, query, ids, rows)))


def _nearest(collection: Collection, query: Query, ids: Ids, rows: RowBytes) -> TopK | None:
    """The nearest rows, found by comparing with each; ``rows`` are the bytes of vectors. None where there is no row."""
    if not len(ids):
        return None
    kind = np.uint8 if collection.metric.is_binary else np.float32
    vectors = cast("Vectors", np.require(rows, requirements=["C", "A"]).view(kind))
    index = build(IndexType.FLAT, collection.metric, vectors, BuildParams())
    found = index.search(query.vectors, min(query.topk, len(ids)), query.params, metric=query.metric)
    return TopK(np.where(found.ids == NO_ID, NO_ID, ids[found.ids]), found.distances)
