"""``/collections`` and ``/collections/{name}``."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from mishards.errors import Code
from mishards.rest.errors import ErrorReply
from mishards.rest.exchange import Exchange
from mishards.rest.fields import Page
from mishards.rest.names import index_name, metric_name, metric_number
from mishards.rest.replies import created, json_text, nothing, ok
from mishards.wire.params import find_params
from mishards.wire.protos import milvus_pb2 as pb

_DEFAULT_INDEX_FILE_SIZE_MB = 1024


async def list_collections(exchange: Exchange) -> Response:
    """The collections of one page, and how many there are."""
    page = Page.of(exchange.query)
    names = (await exchange.ask("ShowCollections", pb.Command())).collection_names
    found = []
    for name in page.of_list(names):
        try:
            found.append(await _described(exchange, name))
        except ErrorReply as error:
            if error.reply_code != Code.COLLECTION_NOT_EXISTS:  # else it was dropped a moment ago
                raise
    return ok({"collections": found, "count": len(names)})


async def create_collection(exchange: Exchange) -> Response:
    """Create a collection."""
    fields = await exchange.fields()
    schema = pb.CollectionSchema(
        collection_name=fields.text("collection_name"),
        dimension=fields.integer("dimension"),
        index_file_size=fields.integer("index_file_size", _DEFAULT_INDEX_FILE_SIZE_MB),
        metric_type=metric_number(fields.text("metric_type", "L2")),
    )
    await exchange.call("CreateCollection", schema)
    return created()


async def show_collection(exchange: Exchange) -> Response:
    """One collection; with ``info=stat`` its partitions and segments."""
    if exchange.query.get("info") == "stat":
        named = pb.CollectionName(collection_name=exchange.collection)
        return json_text((await exchange.ask("ShowCollectionInfo", named)).json_info)
    return ok(await _described(exchange, exchange.collection))


async def drop_collection(exchange: Exchange) -> Response:
    """Drop a collection."""
    await exchange.call("DropCollection", pb.CollectionName(collection_name=exchange.collection))
    return nothing()


async def _described(exchange: Exchange, name: str) -> dict[str, Any]:
    named = pb.CollectionName(collection_name=name)
    schema, rows, index = await asyncio.gather(
        exchange.ask("DescribeCollection", named),
        exchange.ask("CountCollection", named),
        exchange.ask("DescribeIndex", named),
    )
    return {
        "collection_name": schema.collection_name,
        "dimension": schema.dimension,
        "index_file_size": schema.index_file_size,
        "metric_type": metric_name(schema.metric_type),
        "count": rows.collection_row_count,
        "index": index_name(index.index_type),
        "index_params": find_params(index.extra_params),
    }
