"""``/collections/{name}/partitions``."""

from __future__ import annotations

from starlette.responses import Response

from mishards.rest.exchange import Exchange
from mishards.rest.fields import Page
from mishards.rest.replies import created, nothing, ok
from mishards.wire.protos import milvus_pb2 as pb


async def list_partitions(exchange: Exchange) -> Response:
    """The partitions of one page, and how many there are; ``_default`` is one of them."""
    page = Page.of(exchange.query)
    named = pb.CollectionName(collection_name=exchange.collection)
    tags = (await exchange.ask("ShowPartitions", named)).partition_tag_array
    return ok({"partitions": [{"partition_tag": tag} for tag in page.of_list(tags)], "count": len(tags)})


async def create_partition(exchange: Exchange) -> Response:
    """Create a partition."""
    await exchange.call("CreatePartition", await _named(exchange))
    return created()


async def drop_partition(exchange: Exchange) -> Response:
    """Drop the partition that the body names."""
    await exchange.call("DropPartition", await _named(exchange))
    return nothing()


async def _named(exchange: Exchange) -> pb.PartitionParam:
    fields = await exchange.fields()
    return pb.PartitionParam(collection_name=exchange.collection, tag=fields.text("partition_tag"))
