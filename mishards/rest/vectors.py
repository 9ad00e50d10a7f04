"""``/collections/{name}/vectors``: rows in, rows by id, rows out, and searches."""

from __future__ import annotations

from starlette.responses import Response

from mishards.rest.errors import BadHttpRequest, ErrorReply, illegal
from mishards.rest.exchange import Exchange
from mishards.rest.fields import Fields, illegal_query, required
from mishards.rest.names import is_binary
from mishards.rest.replies import OK_BODY, created, json_text, ok
from mishards.rest.rows import hits_json, read_ids, vectors_json
from mishards.wire.params import PARAMS_KEY
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.search import search_in_files

_INSERT_ROWS, _QUERY_ROWS = b"\x12", b"\x1a"
"""Tags of the fields that hold vectors in ``InsertParam`` and ``SearchParam``."""


async def get_vectors(exchange: Exchange) -> Response:
    """The rows with the ids in the query; where there is no such row, its vector is empty."""
    text = required(exchange.query, "ids")
    try:
        ids = read_ids(text.split(","))
    except BadHttpRequest as error:
        raise illegal_query("ids", text, "a list of integers, divided by commas") from error
    request = pb.VectorsIdentity(
        collection_name=exchange.collection, id_array=ids, partition_tag=exchange.query.get("partition_tag", "")
    )
    reply = await exchange.call("GetVectorsByID", request)
    return ok({**OK_BODY, "vectors": vectors_json(ids, reply)})


async def insert(exchange: Exchange) -> Response:
    """Insert rows; answers their ids."""
    fields = await exchange.fields()
    message = pb.InsertParam(
        collection_name=exchange.collection,
        row_id_array=read_ids(fields.array("ids", ())),
        partition_tag=fields.text("partition_tag", ""),
    )
    rows = await _rows(exchange, fields, _INSERT_ROWS)
    reply = pb.VectorIds.FromString(await exchange.call("Insert", message.SerializeToString() + rows))
    return created({"ids": list(map(str, reply.vector_id_array))})


async def search_or_delete(exchange: Exchange) -> Response:
    """Search, by vectors or by ids, in the collection or in files; or delete rows by id."""
    fields = await exchange.fields()
    operations = fields.present("search", "delete")
    if len(operations) != 1:
        raise illegal("The request body must have one of the fields 'search' and 'delete'.")
    return await (_search if operations == ["search"] else _delete)(exchange, fields.inner(operations[0]))


async def _delete(exchange: Exchange, fields: Fields) -> Response:
    request = pb.DeleteByIDParam(
        collection_name=exchange.collection,
        id_array=read_ids(fields.array("ids")),
        partition_tag=fields.text("partition_tag", ""),
    )
    await exchange.call("DeleteByID", request)
    return ok({"code": 0, "message": "success"})


async def _search(exchange: Exchange, fields: Fields) -> Response:
    param = pb.SearchParam(
        collection_name=exchange.collection,
        topk=fields.integer("topk"),
        partition_tag_array=fields.texts("partition_tags", ()),
        extra_params=[pb.KeyValuePair(key=PARAMS_KEY, value=fields.params(default="{}"))],
    )
    if fields.present("ids") and not fields.present("vectors"):
        reply = await exchange.call("SearchByID", _by_id(param, read_ids(fields.array("ids"))))
    else:
        files = list(map(str, fields.array("file_ids", ())))
        request = param.SerializeToString() + await _rows(exchange, fields, _QUERY_ROWS)
        if files:
            reply = await exchange.call("SearchInFiles", search_in_files(files, request))
        else:
            reply = await exchange.call("Search", request)
    return json_text(await exchange.aside(len(reply), lambda: hits_json(reply)))


def _by_id(param: pb.SearchParam, ids: list[int]) -> pb.SearchByIDParam:
    return pb.SearchByIDParam(
        collection_name=param.collection_name,
        topk=param.topk,
        partition_tag_array=param.partition_tag_array,
        extra_params=param.extra_params,
        id_array=ids,
    )


async def _rows(exchange: Exchange, fields: Fields, tag: bytes) -> bytes:
    """Encode the vectors in the body."""
    rows = await exchange.aside(exchange.body_bytes, lambda: fields.rows("vectors"))
    binary = rows.may_be_bytes and await _holds_bytes(exchange)
    return await exchange.aside(rows.size, lambda: rows.encoded(tag, binary=binary))


async def _holds_bytes(exchange: Exchange) -> bool:
    """Are the vectors of the collection binary? Where that cannot be said, the call itself will fail with the cause."""
    try:
        schema = await exchange.ask("DescribeCollection", pb.CollectionName(collection_name=exchange.collection))
    except ErrorReply:
        return False
    return is_binary(schema.metric_type)
