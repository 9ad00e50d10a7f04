"""``Cmd`` at the router: what it answers itself, and what it hands to the writable node."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import DecodeError

from mishards.cluster.fleet import Fleet
from mishards.deadline import Deadline
from mishards.errors import CommandError, MalformedRequest
from mishards.query.replicas import Replicas, replica_number
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2
from mishards.wire.replies import ok_status

_REPLICAS = "replicas."
"""How the keys begin under which clients read and set replica numbers, one for each collection."""

SERVED_VERSION = "1.1.0"
"""What ``version`` answers: the protocol served. Clients refuse to work with anything that is not 1.1.x."""


class Commands:
    """Answers ``Cmd``. Belongs to the event loop."""

    def __init__(self, fleet: Fleet, forward: Callable[[Call], Awaitable[bytes]], replicas: Replicas) -> None:
        self._fleet = fleet
        self._replicas = replicas
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
        words = text.split(" ")
        if len(words) > 1 and words[1].startswith(_REPLICAS) and words[0] in ("get_config", "set_config"):
            answers[text] = await self._replica_number(words, call.deadline)
        if text not in answers:
            return await self._forward(call)
        return milvus_pb2.StringReply(status=ok_status(), string_reply=answers[text]).SerializeToString()

    async def _replica_number(self, words: Sequence[str], deadline: Deadline) -> str:
        """``get_config replicas.COLLECTION``, ``set_config replicas.COLLECTION NUMBER``.

        Raises:
            CommandError: there are more words, or fewer.
            CollectionNotFound, IllegalArgument, CatalogError: as ``Replicas`` says.
        """
        collection = words[1].removeprefix(_REPLICAS)
        if len(words) == 2 and words[0] == "get_config":
            return str(await self._replicas.get(collection, deadline))
        if len(words) == 3 and words[0] == "set_config":
            await self._replicas.set(collection, replica_number(words[2]), deadline)
            return ""
        raise CommandError(f"Invalid command: {' '.join(words)}")

    def connection_stats(self) -> str:
        """JSON: each node with its address, role, health, calls under way and recent latency."""
        nodes = {
            node.name: {
                "address": node.record.address,
                "role": node.record.role.value,
                "health": node.health.state.value,
                "outstanding": node.outstanding,
                "latency_ms": round(node.latency.average_s * 1000, 3),
            }
            for node in self._fleet
        }
        return json.dumps({"nodes": nodes}, sort_keys=True)
