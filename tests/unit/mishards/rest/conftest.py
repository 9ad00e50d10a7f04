"""The API before a handler that answers what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message

from mishards.errors import MishardsError
from mishards.rest.application import api_routes, application
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import METHODS, OK_FIELD, error_reply, ok_status

Answer = Message | MishardsError | Callable[[Message], Message]


class Api:
    """Sends requests; keeps the calls that they became."""

    def __init__(self, max_body_bytes: int = -1) -> None:
        self.calls: list[Call] = []
        self.replies: dict[str, Answer] = {}
        self.cmd: dict[str, str | MishardsError] = {}
        """What ``Cmd`` answers, by its text."""
        self.app = application(api_routes(self._handle, max_body_bytes))

    async def _handle(self, call: Call) -> bytes:
        self.calls.append(call)
        if call.method == "Cmd":
            text = self.cmd.get(pb.Command.FromString(call.request).cmd, "Unknown command")
            if isinstance(text, MishardsError):
                return error_reply("Cmd", text)
            return pb.StringReply(status=ok_status(), string_reply=text).SerializeToString()
        answer = self.replies.get(call.method)
        if callable(answer):
            answer = answer(METHODS[call.method].request.FromString(call.request))
        if isinstance(answer, MishardsError):
            if answer.rpc_status is not None:
                raise answer
            return error_reply(call.method, answer)
        if METHODS[call.method].replies_status:
            return ok_status().SerializeToString()
        return OK_FIELD + (answer.SerializeToString() if answer is not None else b"")

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request, as httpx does."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://node") as client:
            return await client.request(method, path, **more)

    async def get(self, path: str) -> Any:
        """The JSON that a GET answers, with success."""
        response = await self.send("GET", path)
        assert response.status_code == 200, response.text
        return json.loads(response.content)

    def requests(self) -> list[tuple[str, Message]]:
        """The calls so far: method and request message."""
        return [(call.method, METHODS[call.method].request.FromString(call.request)) for call in self.calls]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def limited_api() -> Api:
    return Api(max_body_bytes=100)
