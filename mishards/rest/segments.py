"""``/collections/{name}/segments``: the segments of a collection, their ids and vectors."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from starlette.responses import Response

from mishards.rest.exchange import Exchange
from mishards.rest.fields import Page
from mishards.rest.replies import OK_BODY, ok
from mishards.rest.rows import vectors_json
from mishards.wire.limits import MAX_IDS_PER_GET
from mishards.wire.protos import milvus_pb2 as pb


async def list_segments(exchange: Exchange) -> Response:
    """The segments of one page, of one partition or all, and how many there are."""
    page, wanted = Page.of(exchange.query), exchange.query.get("partition_tag")
    named = pb.CollectionName(collection_name=exchange.collection)
    stats = orjson.loads((await exchange.ask("ShowCollectionInfo", named)).json_info)
    segments = [
        {**segment, "partition_tag": partition["tag"]}
        for partition in stats["partitions"]
        for segment in partition["segments"] or ()
        if wanted in (None, partition["tag"])
    ]
    return ok({**OK_BODY, "count": len(segments), "segments": page.of_list(segments)})


async def list_ids(exchange: Exchange) -> Response:
    """The ids of one page of a segment, and how many it has."""
    page = Page.of(exchange.query)
    ids = await _ids(exchange)
    return ok({"ids": list(map(str, page.of_list(ids))), "count": len(ids)})


async def list_vectors(exchange: Exchange) -> Response:
    """The rows of one page of a segment, and how many it has."""
    page = Page.of(exchange.query)
    ids = await _ids(exchange)
    wanted = page.of_list(ids)
    vectors = []
    for start in range(0, len(wanted), MAX_IDS_PER_GET):
        some = wanted[start : start + MAX_IDS_PER_GET]
        request = pb.VectorsIdentity(collection_name=exchange.collection, id_array=some)
        vectors += vectors_json(some, await exchange.call("GetVectorsByID", request))
    return ok({"vectors": vectors, "count": len(ids)})


async def _ids(exchange: Exchange) -> Sequence[int]:
    request = pb.GetVectorIDsParam(collection_name=exchange.collection, segment_name=exchange.path["segment"])
    return (await exchange.ask("GetVectorIDs", request)).vector_id_array[:]  # type: ignore[no-any-return]  # any reply
