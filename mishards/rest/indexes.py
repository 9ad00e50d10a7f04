"""``/collections/{name}/indexes``: the index of a collection."""

from __future__ import annotations

from starlette.responses import Response

from mishards.rest.exchange import Exchange
from mishards.rest.names import index_name, index_number
from mishards.rest.replies import created, nothing, ok
from mishards.wire.params import PARAMS_KEY, find_params, parse_params
from mishards.wire.protos import milvus_pb2 as pb


async def show_index(exchange: Exchange) -> Response:
    """The index and its parameters."""
    index = await exchange.ask("DescribeIndex", pb.CollectionName(collection_name=exchange.collection))
    params = parse_params(find_params(index.extra_params))
    return ok({"index_type": index_name(index.index_type), "params": params})


async def create_index(exchange: Exchange) -> Response:
    """Build an index; answers when it is built."""
    fields = await exchange.fields()
    index = pb.IndexParam(
        collection_name=exchange.collection,
        index_type=index_number(fields.text("index_type")),
        extra_params=[pb.KeyValuePair(key=PARAMS_KEY, value=fields.params())],
    )
    await exchange.call("CreateIndex", index)
    return created()


async def drop_index(exchange: Exchange) -> Response:
    """Drop the index."""
    await exchange.call("DropIndex", pb.CollectionName(collection_name=exchange.collection))
    return nothing()
