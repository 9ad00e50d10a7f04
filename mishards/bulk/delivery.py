"""Brings a block of rows to a server exactly once, over connections that break and servers that come back.

An insert that failed without a verdict may have arrived, now or a moment later. Before it is repeated, the rows are
looked for by their ids, after a pause in which what is still on its way arrives, and a flush that makes it visible;
only rows that are not there are sent again. This needs ids that nothing else in the collection has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import numpy as np

from mishards.bulk.remote import Remote, Schema
from mishards.bulk.sources.api import Block
from mishards.deadline import Deadline
from mishards.errors import Code, NodeError, NodeOverloaded, NodeRejected, NodeUnavailable, ResumeError, ServerRefused
from mishards.kinds import DEFAULT_TAG
from mishards.wire.limits import MAX_IDS_PER_GET

log = logging.getLogger(__name__)

_VERDICTS = frozenset(
    {
        Code.PERMISSION_DENIED,
        Code.COLLECTION_NOT_EXISTS,
        Code.ILLEGAL_ARGUMENT,
        Code.ILLEGAL_DIMENSION,
        Code.ILLEGAL_COLLECTION_NAME,
        Code.ILLEGAL_ROWRECORD,
        Code.ILLEGAL_VECTOR_ID,
        Code.ILLEGAL_METRIC_TYPE,
    }
)
"""Codes that condemn the request: nothing was inserted, and repeating it cannot help."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long a delivery holds on."""

    patience_s: float = 60.0
    """A block that cannot be delivered for so long is given up."""
    settle_s: float = 5.0
    """What was sent so long ago has arrived or never will."""


class Delivery:
    """Delivers blocks into one collection. Belongs to one event loop; several blocks may be under way at once."""

    def __init__(self, remote: Remote, schema: Schema, persistence: Persistence, stop: asyncio.Event) -> None:
        """``stop``, once set, ends waiting for a server that is away."""
        self._remote = remote
        self._schema = schema
        self._persistence = persistence
        self._stop = stop

    async def deliver(self, block: Block, sent_s_ago: float | None = None) -> bool:
        """Deliver rows, which have ids; False when it was stopped before, and the rows are in doubt.

        ``sent_s_ago`` says that they were sent before, and when; None that they were not.

        Raises:
            ServerRefused, NodeError: it cannot be done, or not within the patience; the rows are in doubt.
            ResumeError: an id is there with another vector.
        """
        patience, pause_s = Deadline.after(self._persistence.patience_s), _FIRST_PAUSE_S
        doubt_ends = None if sent_s_ago is None else time.monotonic() - sent_s_ago + self._persistence.settle_s
        while True:
            try:
                if doubt_ends is not None:
                    if await self._stopped_within(doubt_ends - time.monotonic()):
                        return False
                    block = await self._absent(block)
                    doubt_ends = None
                if len(block.positions):
                    await self._insert(block)
                return True
            except (NodeError, ServerRefused) as error:
                if _is_verdict(error) or patience.remaining() <= 0:
                    raise
                log.warning("rows from %d on are not delivered yet: %s", block.first, error)
                if doubt_ends is None and _may_have_arrived(error):
                    doubt_ends = time.monotonic() + self._persistence.settle_s
            if await self._stopped_within(pause_s):
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _insert(self, block: Block) -> None:
        if block.ids is None:
            raise ResumeError(f"rows from {block.first} on have no ids; they could not be told apart after a failure")
        await self._remote.insert(self._schema.name, block.tag, block.ids, block.vectors)

    async def _absent(self, block: Block) -> Block:
        """Those rows of a block that are not in the collection."""
        await self._remote.flush(self._schema.name)
        tag = block.tag or DEFAULT_TAG
        parts = await self._remote.parts(self._schema.name)
        if block.ids is None or not any(part.segments for part in parts if part.tag == tag):
            return block  # where there is no segment, a server refuses to look
        absent = np.ones(len(block.ids), np.bool_)
        for at in range(0, len(block.ids), MAX_IDS_PER_GET):
            here = slice(at, at + MAX_IDS_PER_GET)
            stored, found = await self._remote.vectors(self._schema, tag, block.ids[here])
            other = (stored != block.vectors[here][found]).any(axis=1)
            if other.any():
                row_id = int(block.ids[here][found][other][0])
                raise ResumeError(
                    f"whether rows from {block.first} on were inserted cannot be told: id {row_id} is in "
                    f"{self._schema.name} with another vector; ids must be unique"
                )
            absent[here] = ~found
        log.info("rows from %d on: %d of %d had not arrived", block.first, absent.sum(), len(absent))
        return block.keep(absent)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), max(0.0, seconds))
        except asyncio.TimeoutError:
            return False
        return True


def _is_verdict(error: NodeError | ServerRefused) -> bool:
    if isinstance(error, ServerRefused):
        return error.refusal in _VERDICTS
    return isinstance(error, NodeRejected)


def _may_have_arrived(error: NodeError | ServerRefused) -> bool:
    if isinstance(error, NodeUnavailable):
        return error.sent
    return not isinstance(error, NodeOverloaded)
