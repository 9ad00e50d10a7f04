"""The little that the embedded cluster asks of its own router, from outside like any client."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any, TypeVar

from google.protobuf.message import Message

from mishards.deadline import Deadline
from mishards.errors import Code, SampleFailed
from mishards.transport.api import Channel
from mishards.wire.replies import status_of

Reply = TypeVar("Reply", bound=Message)

_CALL_S = 120.0
_HTTP_S = 3.0
_HTTP_OK = 200


class Client:
    """Calls RPCs with protocol messages. Belongs to the event loop of its channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(self, method: str, request: Message, reply_type: type[Reply]) -> Reply:
        """Call one RPC. Raises SampleFailed where the reply's status is no success, NodeError where there is none."""
        data = await self._channel.call(method, request.SerializeToString(), deadline=Deadline.after(_CALL_S))
        code, reason = status_of(method, data)
        if code != Code.SUCCESS:
            raise SampleFailed(f"{method} was answered with code {int(code)}: {reason}")
        return reply_type.FromString(data)


async def get_json(address: str, path: str) -> Any:
    """Get a JSON document over HTTP from ``host:port``. Raises OSError or ValueError where there is none."""
    return json.loads(await asyncio.to_thread(_get, address, path))


def _get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=_HTTP_S)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            if response.status != _HTTP_OK:
                raise ConnectionError(f"the answer has status {response.status}")
            return response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
