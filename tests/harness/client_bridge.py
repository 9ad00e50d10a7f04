"""Runs the unmodified client in its own environment: calls come in as lines of JSON, replies go out the same way.

``client.py`` starts this file as a program; nothing imports it. It runs on CPython 3.6 and newer with the standard
library and pymilvus, so it uses nothing newer.

A call is ``{"method": NAME, "arguments": {...}}``; the method ``connect`` makes the client, any other is one of its
methods. A reply is ``{"code": …, "message": …, "value": …}``, or ``{"raised": CLASS, "message": …}``. Vectors travel as
``{"rows": N, "type": "f" | "B", "base64": …}``; a search result comes back as ``{"ids": …, "distances": …}``.
"""

import array
import base64
import json
import sys
from typing import Any

import milvus


def main() -> None:
    """Answer calls until the input ends."""
    replies = sys.stdout
    sys.stdout = sys.stderr  # what the client prints is no reply
    client = None
    for line in sys.stdin:
        call = json.loads(line)
        try:
            arguments = {name: _received(value) for name, value in call["arguments"].items()}
            if call["method"] == "connect":
                client = milvus.Milvus(**arguments)
                reply = _reply(None)
            else:
                reply = _reply(getattr(client, call["method"])(**arguments))
        except Exception as error:  # noqa: BLE001 - whatever the client raises is its answer
            reply = {"raised": type(error).__name__, "message": str(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _received(value: Any) -> Any:
    """Turn encoded vectors into the lists of numbers, or of bytes, that the client takes."""
    if not isinstance(value, dict) or "base64" not in value:
        return value
    content = base64.b64decode(value["base64"])
    width = len(content) // value["rows"] if value["rows"] else 0
    rows = [content[start : start + width] for start in range(0, width * value["rows"], width or 1)]
    return rows if value["type"] == "B" else [array.array("f", row).tolist() for row in rows]


def _reply(returned: Any) -> "dict[str, Any]":
    """Divide what a method returned into its status and its value."""
    status, value = returned if isinstance(returned, tuple) else (returned, None)
    if not isinstance(status, milvus.Status):
        status, value = milvus.Status(), returned
    return {"code": int(status.code), "message": str(status.message), "value": _sent(value)}


def _sent(value: Any) -> Any:
    """Turn what the client returned into what JSON can carry."""
    if hasattr(value, "id_array"):  # the result of a search over gRPC
        return {"ids": value.id_array, "distances": value.distance_array}
    if type(value).__name__ == "TopKQueryResult2":  # the result of a search over HTTP
        hits = list(value)
        return {"ids": [[h.id for h in row] for row in hits], "distances": [[h.distance for h in row] for row in hits]}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, (list, tuple)):
        return [_sent(part) for part in value]
    if isinstance(value, dict):
        return {name: _sent(part) for name, part in value.items()}
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return int(value)
    return {name.lstrip("_"): _sent(part) for name, part in vars(value).items()}


if __name__ == "__main__":
    main()
