"""Rows are brought to a real node exactly once, whatever becomes of requests and replies on the way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.waiting import eventually_async
from mishards.bulk.delivery import Delivery, Persistence
from mishards.bulk.journal import Journal
from mishards.bulk.listing import fetch, list_ids, read_ids
from mishards.bulk.load import Loader, LoadPlan, block_rows_for
from mishards.bulk.remote import Remote, Schema
from mishards.bulk.sources.api import BadRow, Block
from mishards.errors import (
    BulkError,
    MishardsError,
    NodeOverloaded,
    NodeRejected,
    NodeUnavailable,
    ResumeError,
    RpcStatus,
    ServerRefused,
    SourceError,
)
from mishards.kinds import MetricType

SCHEMA = Schema("things", 4, MetricType.L2, 64)
ROWS = 40
VECTORS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
PROMPT = Persistence(patience_s=20, settle_s=0)
FAULTS = ("", "unsent", "lost request", "lost reply")


def block(first: int, rows: int, tag: str = "") -> Block:
    ids = np.arange(first, first + rows)
    return Block(first, rows, ids, VECTORS[first : first + rows], ids, tag=tag)


class Rows:
    """A source of ``VECTORS``, some of them bad; ``on_block`` is called before each block."""

    files = (Path("rows.npy"),)
    width = 4
    rows: int | None = ROWS

    def __init__(self, bad: tuple[int, ...] = (), on_block: Callable[[int], None] = lambda _first: None) -> None:
        self._bad, self._on_block = bad, on_block

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        for first in range(skip * rows, ROWS, rows):
            self._on_block(first)
            whole = block(first, min(rows, ROWS - first))
            bad = [at for at in self._bad if first <= at < first + rows]
            kept = whole.keep(~np.isin(whole.positions, bad))
            yield replace(kept, ids=None, bad=tuple(BadRow(at, "it is bad") for at in bad))


async def stored(remote: Remote, folder: Path) -> dict[int, list[float]]:
    """Every row of the collection; fails where an id is there twice."""
    found: dict[int, list[float]] = {}
    for part in await list_ids(remote, SCHEMA, folder / "ids"):
        async for ids, vectors in fetch(remote, SCHEMA, part.tag, read_ids(folder / "ids", part.first, part.rows)):
            for row_id, vector in zip(ids.tolist(), vectors.tolist(), strict=True):
                assert row_id not in found
                found[row_id] = vector
    return found


async def load(
    remote: Remote, path: Path, source: Any, *, stop: asyncio.Event | None = None, **plan: Any
) -> tuple[bool, Journal]:
    """Run a load with the journal at ``path``, as often as it is called."""
    if await remote.schema("things") is None:
        await remote.create(SCHEMA)
    stop = stop or asyncio.Event()
    with Journal(path, {"job": 1}) as journal:
        delivery = Delivery(remote, SCHEMA, PROMPT, stop)
        loader = Loader(source, delivery, journal, LoadPlan(3, 0, **plan), lambda _rows: None)
        return await loader.run(stop), journal


@pytest.mark.parametrize("seed", range(4))
async def test_every_row_arrives_once_whatever_is_lost(seed: int, channel: Any, remote: Remote, tmp_path: Path) -> None:
    channel.faults = np.random.default_rng(seed).choice(FAULTS, 20).tolist()
    finished, journal = await load(remote, tmp_path / "j", Rows())
    assert (finished, journal.record.rows) == (True, ROWS)
    assert await stored(remote, tmp_path) == dict(enumerate(VECTORS.tolist()))


@pytest.mark.parametrize("at", range(0, ROWS, 9))
async def test_a_load_that_dies_goes_on_without_a_double(at: int, channel: Any, remote: Remote, tmp_path: Path) -> None:
    """The process dies while blocks are under way: some arrived unnoticed, the journal is as it was on disk."""
    saved = tmp_path / "saved"

    def dies(first: int) -> None:
        if first >= at:
            saved.write_bytes((tmp_path / "j").read_bytes())  # acknowledgements after this are lost
            raise SourceError("died")

    with pytest.raises(SourceError, match="died"):
        await load(remote, tmp_path / "j", Rows(on_block=dies))
    saved.replace(tmp_path / "j")
    before = channel.inserts
    finished, journal = await load(remote, tmp_path / "j", Rows())
    assert (finished, journal.record.rows) == (True, ROWS)
    assert await stored(remote, tmp_path) == dict(enumerate(VECTORS.tolist()))
    assert channel.inserts - before <= -(-(ROWS - at) // 3) + 1, "what was there is not sent again"


async def test_a_load_that_is_stopped_finishes_what_is_under_way(remote: Remote, tmp_path: Path) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask(first: int) -> None:
        if first == 12:
            loop.call_soon_threadsafe(stop.set)

    finished, journal = await load(remote, tmp_path / "j", Rows(on_block=ask), stop=stop)
    assert not finished
    assert journal.record.done == journal.record.begun == journal.record.rows // 3
    assert (await load(remote, tmp_path / "j", Rows()))[0]
    assert await stored(remote, tmp_path) == dict(enumerate(VECTORS.tolist()))


async def test_a_server_that_is_away_is_not_waited_for_after_ctrl_c(
    channel: Any, remote: Remote, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    channel.faults = ["unsent"] * 1000
    asyncio.get_running_loop().call_later(0.3, stop.set)
    finished, journal = await asyncio.wait_for(load(remote, tmp_path / "j", Rows(), stop=stop), 15)
    assert (finished, journal.record.rows) == (False, 0)
    channel.faults = []
    assert (await load(remote, tmp_path / "j", Rows()))[0]
    assert await stored(remote, tmp_path) == dict(enumerate(VECTORS.tolist()))


async def test_a_load_that_is_cancelled_leaves_no_task_behind(channel: Any, remote: Remote, tmp_path: Path) -> None:
    channel.faults = ["unsent"] * 1000
    task = asyncio.create_task(load(remote, tmp_path / "j", Rows()))

    async def begun() -> bool:
        return len(channel.faults) < 1000

    await eventually_async(begun, 20, "an insert was tried")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [task for task in asyncio.all_tasks() if "send block" in task.get_name()] == []


async def test_a_bad_row_ends_a_load_and_what_was_sent_is_known(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"rows\.npy, row 7: it is bad; repair it, or go on with --skip-bad"):
        await load(remote, tmp_path / "j", Rows(bad=(7, 20)))
    finished, journal = await load(
        remote, tmp_path / "j", Rows(bad=(7, 20)), skip_bad=True, bad_rows=tmp_path / "bad.jsonl"
    )
    assert (finished, journal.record.rows, journal.record.bad_rows) == (True, ROWS - 2, 2)
    listed = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()]
    assert listed == [{"row": 7, "reason": "it is bad"}, {"row": 20, "reason": "it is bad"}]
    assert sorted(await stored(remote, tmp_path)) == [row for row in range(ROWS) if row not in (7, 20)]


async def test_bad_rows_are_listed_once_though_a_load_was_interrupted(remote: Remote, tmp_path: Path) -> None:
    stop, loop, listed = asyncio.Event(), asyncio.get_running_loop(), tmp_path / "bad.jsonl"

    def ask(first: int) -> None:
        if first == 15:
            loop.call_soon_threadsafe(stop.set)

    every = tuple(range(0, ROWS, 2))
    options: dict[str, Any] = {"skip_bad": True, "bad_rows": listed}
    await load(remote, tmp_path / "j", Rows(every, ask), stop=stop, **options)
    with listed.open("ab") as stream:
        stream.write(b'{"row": half a li')  # written when it died, before the journal knew of it
    await load(remote, tmp_path / "j", Rows(every), **options)
    assert [json.loads(line)["row"] for line in listed.read_text(encoding="utf-8").splitlines()] == list(every)


async def test_an_id_that_is_there_with_another_vector_is_no_proof_of_arrival(remote: Remote) -> None:
    await remote.create(SCHEMA)
    await remote.insert("things", "", np.arange(2), VECTORS[5:7])
    with pytest.raises(ResumeError, match="id 0 is in things with another vector"):
        await Delivery(remote, SCHEMA, PROMPT, asyncio.Event()).deliver(block(0, 3), sent_s_ago=0)


async def test_rows_that_arrived_in_part_are_completed_in_their_partition(remote: Remote, tmp_path: Path) -> None:
    await remote.create(SCHEMA)
    await remote.create_partition("things", "red")
    await remote.insert("things", "red", np.arange(0, 6, 2), VECTORS[0:6:2])
    assert await Delivery(remote, SCHEMA, PROMPT, asyncio.Event()).deliver(block(0, 6, "red"), sent_s_ago=0)
    await remote.flush("things")
    assert [(part.tag, part.rows) for part in await remote.parts("things")] == [("_default", 0), ("red", 6)]
    assert await stored(remote, tmp_path) == dict(enumerate(VECTORS[:6].tolist()))


async def test_rows_without_ids_are_not_sent(remote: Remote) -> None:
    await remote.create(SCHEMA)
    with pytest.raises(ResumeError, match="have no ids"):
        await Delivery(remote, SCHEMA, PROMPT, asyncio.Event()).deliver(replace(block(0, 3), ids=None))


async def test_what_a_server_condemns_is_not_tried_again(channel: Any, remote: Remote) -> None:
    await remote.create(Schema("things", 8, MetricType.L2))
    with pytest.raises(ServerRefused, match="refused Insert with code 7"):
        await Delivery(remote, SCHEMA, PROMPT, asyncio.Event()).deliver(block(0, 3))
    assert channel.inserts == 1


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (NodeOverloaded("node:1", "full"), 2),
        (NodeRejected("node:1", "no", RpcStatus.PERMISSION_DENIED), 1),
        (NodeUnavailable("node:1", "away", sent=False), 2),
    ],
)
async def test_what_may_succeed_later_is_tried_until_patience_ends(
    error: MishardsError, tries: int, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    async def fail(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise error

    await remote.create(SCHEMA)
    monkeypatch.setattr(remote, "insert", fail)
    with pytest.raises(type(error)):
        await Delivery(remote, SCHEMA, Persistence(0.05, 0), asyncio.Event()).deliver(block(0, 3))
    assert tried >= tries


async def test_a_listing_whose_segments_vanish_is_made_again(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mishards.bulk.listing._PAUSE_S", 0.0)
    await remote.create(SCHEMA)
    await remote.insert("things", "", np.arange(3), VECTORS[:3])
    real, left = remote.segment_ids, 2

    async def vanishing(name: str, segment: str) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ServerRefused("Segment does not exist")
        return await real(name, segment)

    monkeypatch.setattr(remote, "segment_ids", vanishing)
    (listed,) = await list_ids(remote, SCHEMA, tmp_path / "ids")
    assert read_ids(tmp_path / "ids", listed.first, listed.rows).tolist() == [0, 1, 2]
    left = 10**6
    with pytest.raises(BulkError, match="change all the time"):
        await list_ids(remote, SCHEMA, tmp_path / "ids")
    os.truncate(tmp_path / "ids", 0)
    with pytest.raises(BulkError, match="cut short"):
        read_ids(tmp_path / "ids", 0, 3)


async def test_a_listing_of_partitions_has_those_only(remote: Remote, tmp_path: Path) -> None:
    await remote.create(SCHEMA)
    for tag in ("red", "blue"):
        await remote.create_partition("things", tag)
    await remote.insert("things", "red", np.arange(3), VECTORS[:3])
    await remote.insert("things", "blue", np.arange(7, 9), VECTORS[:2])
    (listed,) = await list_ids(remote, SCHEMA, tmp_path / "ids", ["blue"])
    assert (listed.tag, read_ids(tmp_path / "ids", listed.first, listed.rows).tolist()) == ("blue", [7, 8])
    with pytest.raises(BulkError, match="no partition green"):
        await list_ids(remote, SCHEMA, tmp_path / "ids", ["red", "green"])


async def test_rows_that_were_deleted_meanwhile_are_left_out(remote: Remote) -> None:
    await remote.create(SCHEMA)
    await remote.insert("things", "", np.arange(3), VECTORS[:3])
    await remote.flush("things")
    asked = np.array([2, 99, 0])
    pieces = [(ids.tolist(), vectors.tolist()) async for ids, vectors in fetch(remote, SCHEMA, "", asked)]
    assert pieces == [([2, 0], VECTORS[[2, 0]].tolist())]
    assert [len(ids) async for ids, _ in fetch(remote, SCHEMA, "", np.array([98, 99]))] == [0]


def test_blocks_are_far_smaller_than_a_message_may_be() -> None:
    assert block_rows_for(520) * 520 <= 8 << 20
    assert (block_rows_for(9), block_rows_for(1 << 30)) == (100_000, 1)
