"""SearchByID over RPC: stored vectors, fetched by id, are the queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvus_node.catalog import NodeCatalog
from milvus_node.search.searcher import Query, Searcher
from milvus_node.service.rows import EmptyPlace, RowCalls
from milvus_node.service.searches import index_params, selected
from mishards.catalog.snapshot import Collection, Segment
from mishards.errors import IllegalArgument, TooFewRows
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK
from mishards.transport.api import Call
from mishards.wire import limits, names
from mishards.wire.params import find_params, search_params
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.results import encode_result


class SearchByIdCalls:
    """Searches near rows that are stored; any role serves them. Safe from any thread."""

    def __init__(self, catalog: NodeCatalog, rows: RowCalls, searcher: Searcher) -> None:
        self._catalog = catalog
        self._rows = rows
        self._searcher = searcher

    def search_by_id(self, call: Call) -> bytes:
        """SearchByID: every row is full, or that of an id which is not stored and empty; anything else is refused."""
        request = pb.SearchByIDParam.FromString(call.request)
        names.check_collection_name(request.collection_name)
        limits.check_topk(request.topk)
        for tag in request.partition_tag_array:
            names.check_partition_tag(tag)
        collection = self._catalog.now().collection(request.collection_name)
        params = search_params(
            collection.index_type.on_the_wire, collection.metric, request.topk, find_params(request.extra_params)
        )
        if not request.id_array:
            raise IllegalArgument("No vector id specified")
        segments = selected(collection, list(request.partition_tag_array))
        if not collection.segments:
            raise EmptyPlace("Collection or partition is empty")
        ids = np.asarray(request.id_array, dtype=np.int64)
        stored, found = self._rows.vectors(collection, collection.segments, ids, call.deadline)
        vectors = stored[found] if collection.metric.is_binary else stored[found].view(np.float32)
        query = Query(vectors, request.topk, params.metric, index_params(params), call.deadline)
        return encode_result(self._near(collection, segments, query, found))

    def _near(
        self, collection: Collection, segments: Sequence[Segment], query: Query, found: NDArray[np.bool_]
    ) -> TopK:
        """What is near the vectors of ``query``, in the places of the ids that are ``found``, bool[n]."""
        shape = len(found), query.topk
        answer = TopK(np.full(shape, NO_ID, np.int64), np.full(shape, EMPTY_DISTANCE, np.float32))
        if found.any():
            near = self._searcher.search(collection, segments, query)
            if near is None or near.ids.shape[1] != query.topk:
                raise TooFewRows
            answer.ids[found], answer.distances[found] = near.ids, near.distances
        return answer
