"""Loads the rows of a source into a collection: some blocks under way at once, each brought there exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mishards.bulk.delivery import Delivery
from mishards.bulk.journal import Journal
from mishards.bulk.sources.api import BadRow, Block, Source
from mishards.errors import SourceError

_BLOCK_BYTES = 8 << 20
_MAX_BLOCK_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a source is cut and sent."""

    block_rows: int
    first_id: int | None = None
    """Ids are this and the row's position; None takes them from the source."""
    tag: str = ""
    """Partition of rows that do not say theirs."""
    in_flight: int = 4
    """Blocks under way at once; as many and two more are in memory."""
    skip_bad: bool = False
    bad_rows: Path | None = None
    """Where bad rows are listed, a JSON object a line."""


def block_rows_for(row_bytes: int) -> int:
    """How many rows of this size make a good block: some megabytes, far below what a message may have."""
    return max(1, min(_MAX_BLOCK_ROWS, _BLOCK_BYTES // row_bytes))


class Loader:
    """One load. Belongs to one event loop; the source is read in threads, one read at a time."""

    def __init__(
        self, source: Source, delivery: Delivery, journal: Journal, plan: LoadPlan, advance: Callable[[int], None]
    ) -> None:
        """``advance`` is told of positions that are dealt with."""
        self._source = source
        self._delivery = delivery
        self._journal = journal
        self._plan = plan
        self._advance = advance
        self._sending: set[asyncio.Task[None]] = set()
        self._sent_s_ago = max(0.0, time.time() - journal.record.begun_at)

    async def run(self, stop: asyncio.Event) -> bool:
        """Load what is not loaded yet; False when ``stop`` was set before the end.

        Blocks that are under way when it ends, however it ends, are waited for; the journal knows all of them.

        Raises:
            SourceError: a bad row that is not to be skipped, or a damaged file.
            ServerRefused, NodeError, ResumeError: as ``Delivery.deliver``.
        """
        try:
            read_all = await self._send_all(stop)
        except asyncio.CancelledError:
            for task in self._sending:
                task.cancel()
            raise
        finally:
            if self._sending:
                await asyncio.wait(self._sending)
            self._journal.save()
        _raise_first(self._sending)
        return read_all and not stop.is_set() and self._journal.record.done == self._journal.record.begun

    async def _send_all(self, stop: asyncio.Event) -> bool:
        number = self._journal.record.done
        blocks = self._source.blocks(self._plan.block_rows, number)
        self._advance(number * self._plan.block_rows)
        while not stop.is_set():
            block = await asyncio.to_thread(_next, blocks)
            if block is None:
                return True
            if self._journal.is_done(number):
                self._advance(block.span)
            else:
                await self._room()
                if stop.is_set():
                    break
                self._begin(number, block)
            number += 1
        return False

    async def _room(self) -> None:
        while len(self._sending) >= self._plan.in_flight:
            done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            self._sending -= done
            _raise_first(done)

    def _begin(self, number: int, block: Block) -> None:
        if block.bad and not self._plan.skip_bad:
            first = block.bad[0]
            raise SourceError(
                f"{self._source.files[0]}, row {first.position}: {first.reason}; repair it, or go on with --skip-bad"
            )
        doubtful = self._journal.is_in_doubt(number)
        if not doubtful:
            self._journal.begin(number, len(block.bad), self._listed(block.bad))
        named = self._named(block)
        send = self._send(number, named, self._sent_s_ago if doubtful else None)
        self._sending.add(asyncio.create_task(send, name=f"send block {number}"))

    def _named(self, block: Block) -> Block:
        first = self._plan.first_id
        return replace(
            block,
            tag=block.tag or self._plan.tag,
            ids=block.ids if first is None else block.positions + first,
        )

    async def _send(self, number: int, block: Block, sent_s_ago: float | None) -> None:
        if await self._delivery.deliver(block, sent_s_ago):
            self._journal.acknowledge(number, len(block.positions))
            self._advance(block.span)

    def _listed(self, bad: tuple[BadRow, ...]) -> int:
        """Append to the list of bad rows, behind what the journal knows of it; return its length in bytes."""
        known = self._journal.record.bad_bytes
        if not bad or self._plan.bad_rows is None:
            return known
        lines = "".join(json.dumps({"row": row.position, "reason": row.reason}) + "\n" for row in bad)
        with self._plan.bad_rows.open("r+b" if known else "wb") as stream:
            stream.truncate(known)
            stream.seek(known)
            stream.write(lines.encode())
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()


def _raise_first(tasks: set[asyncio.Task[None]]) -> None:
    for error in [task.exception() for task in tasks]:
        if error is not None:
            raise error


def _next(blocks: Iterator[Block]) -> Block | None:
    return next(blocks, None)
