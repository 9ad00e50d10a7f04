"""The server itself: its state, the commands of ``Cmd``, and tasks that cover whole collections."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import PlainTextResponse, Response

from mishards.errors import Code
from mishards.rest.errors import ErrorReply, illegal
from mishards.rest.exchange import Exchange
from mishards.rest.fields import Fields
from mishards.rest.replies import OK_BODY, ok
from mishards.wire.protos import milvus_pb2 as pb

_WELCOME = "Mishards: the Milvus 1.1 HTTP API. Collections are at /collections, the state of the server at /state.\n"
_ALIASES = {"info": "get_system_info"}
_TASKS = ("load", "release", "flush", "compact")


async def welcome(_exchange: Exchange) -> Response:
    """Say what this is."""
    return PlainTextResponse(_WELCOME)


async def state(_exchange: Exchange) -> Response:
    """Say that the server is there."""
    return ok({"message": "Success", "code": 0})


async def devices(exchange: Exchange) -> Response:
    """The memory of the machine in GB, and of its GPUs, of which there are none."""
    info = await json_command(exchange, "get_system_info")
    return ok({"cpu": {"memory": int(info["memory_total"]) >> 30}, "gpus": {}})


async def show(exchange: Exchange) -> Response:
    """Whatever ``Cmd`` answers to the text in the path; what changes something is no matter of a GET."""
    text = exchange.path["command"]
    if text.startswith("set_config"):
        raise illegal("Settings are changed by PUT /system/config.")
    return ok({**OK_BODY, "reply": await command(exchange, _ALIASES.get(text, text))})


async def run_task(exchange: Exchange) -> Response:
    """Load, release, flush or compact; answers when it is done."""
    fields = await exchange.fields()
    tasks = fields.present(*_TASKS)
    if len(tasks) != 1:
        raise illegal(f"The request body must have one of the fields {', '.join(_TASKS)}.")
    task = fields.inner(tasks[0])
    if tasks == ["flush"]:
        await exchange.call("Flush", pb.FlushParam(collection_name_array=task.texts("collection_names")))
    elif tasks == ["compact"]:
        await exchange.call("Compact", pb.CollectionName(collection_name=task.text("collection_name")))
    else:
        await exchange.call("PreloadCollection" if tasks == ["load"] else "ReleaseCollection", _part(task))
    return ok()


async def command(exchange: Exchange, text: str) -> str:
    """Make a ``Cmd`` and return its reply."""
    reply: str = (await exchange.ask("Cmd", pb.Command(cmd=text))).string_reply
    return reply


async def json_command(exchange: Exchange, text: str) -> dict[str, Any]:
    """Make a ``Cmd`` that answers a JSON object; a handler that does not know it answers a text, with success.

    Raises:
        ErrorReply: it answers something else.
    """
    reply = await command(exchange, text)
    try:
        answer = orjson.loads(reply)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ErrorReply(Code.UNEXPECTED_ERROR, f"the server answered '{text}' with '{reply}', not with a JSON object")
    return answer


def _part(task: Fields) -> pb.PreloadCollectionParam:
    return pb.PreloadCollectionParam(
        collection_name=task.text("collection_name"), partition_tag_array=task.texts("partition_tags", ())
    )
