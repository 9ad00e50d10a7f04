"""SearchByID: the stored vectors are fetched, then searched for.

Where there are fewer rows than topk it is refused, as a node of Milvus 1.1 refuses it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from mishards.errors import MalformedReply, MalformedRequest, TooFewRows
from mishards.topk import EMPTY_DISTANCE, NO_ID, TopK
from mishards.transport.api import Call
from mishards.wire.limits import check_id_count, check_topk
from mishards.wire.names import check_collection_name
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.results import decode_result, encode_result

Serve = Callable[[Call], Awaitable[bytes]]


class SearcherById:
    """Answers ``SearchByID`` with ``GetVectorsByID`` and ``Search``. Belongs to the event loop."""

    def __init__(self, get_vectors: Serve, search: Serve) -> None:
        self._get_vectors = get_vectors
        self._search = search

    async def search(self, call: Call) -> bytes:
        """The encoded reply to an encoded ``SearchByIDParam``: one row an id, empty where there is no such id."""
        try:
            asked = pb.SearchByIDParam.FromString(call.request)
        except DecodeError as error:
            raise MalformedRequest(f"the request is no SearchByIDParam: {error}") from error
        check_collection_name(asked.collection_name)
        check_topk(asked.topk)
        check_id_count(len(asked.id_array))
        ids = pb.VectorsIdentity(collection_name=asked.collection_name, id_array=asked.id_array)
        fetched = await self._get_vectors(call.asking("GetVectorsByID", ids.SerializeToString()))
        vectors = pb.VectorsData.FromString(fetched)
        if vectors.status.error_code:
            return pb.TopKQueryResult(status=vectors.status).SerializeToString()
        records = vectors.vectors_data
        found = [place for place, record in enumerate(records) if record.float_data or record.binary_data]
        if not found:
            return encode_result(TopK(*_nothing(len(records), asked.topk)))
        param = pb.SearchParam(
            collection_name=asked.collection_name,
            partition_tag_array=asked.partition_tag_array,
            query_record_array=[records[place] for place in found],
            topk=asked.topk,
            extra_params=asked.extra_params,
        )
        reply = await self._search(call.asking("Search", param.SerializeToString()))
        code, rows, answer = decode_result(reply)
        if code:
            return reply
        if not rows or answer.ids.shape[1] != asked.topk:
            raise TooFewRows
        if rows != len(found):
            raise MalformedReply(f"{len(found)} vectors were searched for, {rows} rows came back")
        return encode_result(_widened(answer, found, len(records), asked.topk))


def _widened(answer: TopK, places: list[int], rows: int, topk: int) -> TopK:
    """The rows at their places among all rows, each ``topk`` wide."""
    ids, distances = _nothing(rows, topk)
    ids[places], distances[places] = answer.ids, answer.distances
    return TopK(ids, distances)


def _nothing(rows: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.full((rows, width), NO_ID, np.int64), np.full((rows, width), EMPTY_DISTANCE, np.float32)
