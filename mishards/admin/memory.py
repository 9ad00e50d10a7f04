"""What the caches of our own nodes hold, asked of them over their RPC; Milvus servers do not say.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import MishardsError
from mishards.wire.extensions import MEMORY, MEMORY_COMMAND

_ANSWER_S = 0.5
_LASTING_S = 1.5


@dataclass(frozen=True, slots=True)
class Memory:
    """What a cache of segments holds, and how much it may."""

    cached_bytes: int
    capacity_bytes: int
    segments: int

    @classmethod
    def parse(cls, answer: str) -> Memory | None:
        """Read the answer to ``MEMORY_COMMAND``; None when it is none."""
        try:
            fields = json.loads(answer)
            return cls(int(fields["cached_bytes"]), int(fields["capacity_bytes"]), int(fields["segments"]))
        except (ValueError, KeyError, TypeError):
            return None


class Memories:
    """Asks the nodes, but not more often than it is worth."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[str, Memory] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def now(self) -> dict[str, Memory]:
        """What each node said last, by name; those that do not answer in time are left out."""
        if self._asking is None and time.monotonic() >= self._asked_at + _LASTING_S:
            self._asking = asyncio.get_running_loop().create_task(self._ask_all(), name="admin-memory")
            self._asking.add_done_callback(self._asked)
        if self._asking is not None:
            await asyncio.shield(self._asking)
        return self._known

    def _asked(self, _task: asyncio.Task[None]) -> None:
        self._asking, self._asked_at = None, time.monotonic()

    async def _ask_all(self) -> None:
        nodes = [node for node in self._fleet if node.usable and MEMORY in node.capabilities]
        answers = await asyncio.gather(*map(_asked, nodes))
        self._known = {node.name: memory for node, memory in zip(nodes, answers, strict=True) if memory is not None}


async def _asked(node: Node) -> Memory | None:
    try:
        return Memory.parse(await node.ask(MEMORY_COMMAND, Deadline.after(_ANSWER_S)))
    except MishardsError:
        return None
