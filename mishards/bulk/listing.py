"""The ids of a whole collection at one moment, and their vectors: how rows leave a server.

The protocol lists ids by segment. While segments are merged, one may vanish between two calls, so a listing is kept
only if every segment that it read is still there at its end. The ids go to a file, eight bytes each, not into memory.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mishards.bulk.remote import Part, Remote, Schema
from mishards.bulk.sources.api import Ids, Vectors
from mishards.errors import BulkError, ServerRefused
from mishards.wire.limits import MAX_IDS_PER_GET

_ATTEMPTS = 20
_PAUSE_S = 0.5
_IN_FLIGHT = 4

_Asked = tuple[Ids, asyncio.Task[tuple[Vectors, NDArray[np.bool_]]]]
"""Ids, and the answer to come."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The ids of a partition: so many in a file, from ``first`` on."""

    tag: str
    first: int
    rows: int


async def list_ids(remote: Remote, schema: Schema, path: Path, tags: Sequence[str] = ()) -> list[Listed]:
    """Write the ids of all rows, or of those in some partitions, to a file of int64; return where each partition's are.

    Raises:
        BulkError: segments keep changing, or there is no such partition.
    """
    await remote.flush(schema.name)
    for _ in range(_ATTEMPTS):
        before = await remote.parts(schema.name)
        missing = set(tags) - {part.tag for part in before}
        if missing:
            raise BulkError(f"collection {schema.name} has no partition {', '.join(sorted(missing))}")
        chosen = [part for part in before if not tags or part.tag in tags]
        try:
            listed = await _listed(remote, schema, chosen, path)
        except ServerRefused:  # a segment is gone: its rows are in another now
            await asyncio.sleep(_PAUSE_S)
            continue
        if _segments(before) <= _segments(await remote.parts(schema.name)):
            return listed
        await asyncio.sleep(_PAUSE_S)
    raise BulkError(f"the segments of {schema.name} change all the time; try again when less is written to it")


async def _listed(remote: Remote, schema: Schema, parts: list[Part], path: Path) -> list[Listed]:
    listed = []
    with path.open("wb") as stream:
        for part in parts:
            first = stream.tell() // 8
            for segment in part.segments:
                stream.write((await remote.segment_ids(schema.name, segment)).astype("<i8").tobytes())
            listed.append(Listed(part.tag, first, stream.tell() // 8 - first))
        stream.flush()
        os.fsync(stream.fileno())
    return listed


def _segments(parts: list[Part]) -> set[str]:
    return {segment for part in parts for segment in part.segments}


def read_ids(path: Path, first: int, rows: int) -> Ids:
    """Part of a listing, int64[rows].

    Raises:
        BulkError: the file is shorter than that.
    """
    ids = np.fromfile(path, "<i8", rows, offset=8 * first)
    if len(ids) != rows:
        raise BulkError(f"{path} is cut short: it has no ids {first} … {first + rows}; begin anew in another place")
    return ids


def count_repeated(path: Path, listed: Sequence[Listed]) -> int:
    """How many ids of a listing are not the first of their partition; holds a partition's ids in memory."""
    return sum(part.rows - len(np.unique(read_ids(path, part.first, part.rows))) for part in listed)


async def fetch(remote: Remote, schema: Schema, tag: str, ids: Ids) -> AsyncIterator[tuple[Ids, Vectors]]:
    """The rows of these ids in order, some hundred at a time, without those that are gone; a few calls ahead."""
    waiting: deque[_Asked] = deque()
    chunks = [ids[at : at + MAX_IDS_PER_GET] for at in range(0, len(ids), MAX_IDS_PER_GET)]
    try:
        for chunk in chunks:
            waiting.append((chunk, asyncio.create_task(remote.vectors(schema, tag, chunk), name="fetch vectors")))
            if len(waiting) >= _IN_FLIGHT:
                yield await _oldest(waiting)
        while waiting:
            yield await _oldest(waiting)
    finally:
        for _, task in waiting:
            task.cancel()


async def _oldest(waiting: deque[_Asked]) -> tuple[Ids, Vectors]:
    ids, task = waiting.popleft()
    vectors, found = await task
    return ids[found], vectors
