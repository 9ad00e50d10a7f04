"""Many searches at once on a read-only node: a segment is loaded once, and memory stays within the cache's size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.node_rpc import WAIT_S, Rpc, ok, search_param
from harness.vectors import Floats, gaussian
from milvus_node import assembly
from milvus_node.assembly import Node
from milvus_node.config import CacheOptions, CallOptions, NodeOptions, StorageOptions
from milvus_node.roles import Role
from milvus_node.search.cache import SegmentCache
from mishards.deadline import Deadline
from mishards.transport.api import Call, Handler
from mishards.wire.protos import milvus_pb2 as pb

DIM = 64
ROWS = 2000
SEGMENTS = 8
SEGMENT_BYTES = ROWS * (4 * DIM + 8)
"""At least what a loaded segment takes."""


def vectors(segment: int) -> Floats:
    return gaussian(ROWS, DIM, seed=segment)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = asyncio.new_event_loop()
    yield found
    found.close()


@pytest.fixture
def storage(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> StorageOptions:
    """A folder with a collection a segment, ``c0`` to ``c7``."""
    storage = StorageOptions(path=tmp_path, auto_flush_interval_s=0, bloom_filters=False)
    node = Node(NodeOptions(storage=storage))
    rpc = Rpc(node, loop)
    for segment in range(SEGMENTS):
        rpc.create(f"c{segment}", dimension=DIM)
        rpc.insert(vectors(segment), range(ROWS), name=f"c{segment}")
    node.close()
    return storage


async def answers(serve: Handler, segments: list[int]) -> list[int]:
    """Search each of these collections for a row of its own, all at once; return the ids found."""

    async def one(number: int, segment: int) -> int:
        query = vectors(segment)[number : number + 1]
        request = search_param(query, 1, name=f"c{segment}").SerializeToString()
        reply = pb.TopKQueryResult.FromString(await serve(Call("Search", request, (), Deadline.after(WAIT_S))))
        return int(ok(reply).ids[0])

    return list(await asyncio.gather(*(one(number, segment) for number, segment in enumerate(segments))))


def test_a_segment_is_loaded_once_for_all_who_ask_first(
    storage: StorageOptions, loop: asyncio.AbstractEventLoop
) -> None:
    node = Node(NodeOptions(storage=storage, role=Role.READONLY, calls=CallOptions(search_threads=8)))
    serve = node.open()
    try:
        assert loop.run_until_complete(answers(serve, [0, 1] * 20)) == list(range(40))
        assert (node.cache.usage.loads, node.cache.usage.segments) == (2, 2)
    finally:
        node.close()


def test_memory_stays_within_the_cache_while_every_answer_is_right(
    storage: StorageOptions, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, room = 2, 3 * SEGMENT_BYTES
    seen: list[int] = []

    class Watched(SegmentCache):
        def _shrink(self, wanted: int) -> None:
            super()._shrink(wanted)
            seen.append(self._nbytes)

    monkeypatch.setattr(assembly, "SegmentCache", Watched)
    options = NodeOptions(
        storage=storage,
        role=Role.READONLY,
        cache=CacheOptions(cache_size_bytes=room),
        calls=CallOptions(search_threads=threads),
    )
    node = Node(options)
    serve = node.open()
    try:
        for seed in range(10):
            order = np.random.default_rng(seed).permutation(np.repeat(np.arange(SEGMENTS), 4)).tolist()
            assert loop.run_until_complete(answers(serve, order)) == list(range(len(order)))
        usage = node.cache.usage
    finally:
        node.close()
    assert usage.evictions > SEGMENTS
    assert SEGMENT_BYTES <= usage.nbytes <= room
    assert max(seen) <= room, "what a search uses is not evicted, and two of those fit"
