"""``Cmd`` at the router: what it answers itself, and what it hands to the writable node."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError

from mishards.cluster.fleet import Fleet
from mishards.errors import MalformedRequest
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2
from mishards.wire.replies import ok_status

SERVED_VERSION = "1.1.0"
"""What ``version`` answers: the protocol served. Clients refuse to work with anything that is not 1.1.x."""


class Commands:
    """Answers ``Cmd``. Belongs to the event loop."""

    def __init__(self, fleet: Fleet, forward: Callable[[Call], Awaitable[bytes]]) -> None:
        self._fleet = fleet
        self._forward = forward

    async def cmd(self, call: Call) -> bytes:
        """The encoded reply. What concerns the service is answered here, so that clients connect whatever is down."""
        try:
            text = milvus_pb2.Command.FromString(call.request).cmd
        except DecodeError as error:
            raise MalformedRequest(f"the request is no Command: {error}") from error
        answers = {"version": SERVED_VERSION, "status": "OK", "mode": "CPU"}
        if text == "conn_stats":
            answers[text] = self.connection_stats()
        if text not in answers:
            return await self._forward(call)
        return milvus_pb2.StringReply(status=ok_status(), string_reply=answers[text]).SerializeToString()

    def connection_stats(self) -> str:
        """JSON: each node with its address, role, health, calls under way and recent latency."""
        nodes = {
            node.name: {
                "address": node.record.address,
                "role": node.record.role.value,
                "health": node.health.state.value,
                "outstanding": node.outstanding,
                "latency_ms": round(node.latency_s * 1000, 3),
            }
            for node in self._fleet
        }
        return json.dumps({"nodes": nodes}, sort_keys=True)
