"""What a user of a cluster does beside inserts and searches: collections and partitions come and go, are indexed and
compacted, and are searched meanwhile at the levels between none and all.

Each cycle has a collection of its own, whose rows a truth of its own knows. A call that fails ends the cycle, for what
it did is unknown; its collection is dropped when the run ends. Nothing of it depends on another collection.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.milvus1.client import NodeClient
from harness.traffic import Call, Outcome, timed
from harness.truth import Truth
from harness.vectors import gaussian
from mishards.wire.protos import milvus_pb2 as pb

_DIMENSION = 8
_IVF_FLAT = 2
_NLIST = 4
_AWAY_S = 90.0
"""Longer than any fault keeps the database away."""
_PAUSE_S = 0.2
_KEPT = 5
"""So many collections stay until the end."""


class _Ended(Exception):
    """A step of a cycle did not succeed."""


@dataclass
class Cycle:
    """One collection and what must be in it."""

    name: str
    truth: Truth = field(default_factory=Truth)
    tags: list[str] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)
    """The ids of each partition, by its tag; empty for the one that is always there."""

    @property
    def ids(self) -> list[int]:
        """Of every row that must be there."""
        return sorted(number for ids in self.rows.values() for number in ids)


class Chores:
    """Does one cycle after the other, each step a recorded call; for one thread."""

    def __init__(self, balanced: NodeClient, router: NodeClient, seed: int) -> None:
        """``router`` reaches one router directly: a session is with a router."""
        self.calls: list[Call] = []
        self.kept: list[Cycle] = []
        self.abandoned: list[str] = []
        self._balanced, self._router = balanced, router
        self._random = random.Random(f"chores-{seed}")
        self._number = 0

    def cycle(self) -> None:
        """Make a collection, use it, and most often drop it."""
        self._number += 1
        made = Cycle(f"chore_{self._number}")
        try:
            self._use(made)
            if made.ids and len(self.kept) < _KEPT and self._random.random() < 0.3:
                self.kept.append(made)
            else:
                self._step("drop", lambda: self._balanced.on("DropCollection", made.name))
        except _Ended:
            self.abandoned.append(made.name)

    def _use(self, made: Cycle) -> None:
        chance = self._random
        self._step("create", lambda: self._balanced.create(made.name, _DIMENSION, index_file_size=1))
        made.tags = [f"part-{number}" for number in range(chance.randrange(3))]
        for tag in made.tags:
            self._step("partition", partial(self._balanced.call, "CreatePartition", _partition(made, tag)))
        for _ in range(chance.randrange(1, 4)):
            self._insert(made, chance.choice(["", *made.tags]), chance.randrange(50, 300))
        self._flush(made)
        self._delete(made)
        if chance.random() < 0.5:
            self._step("index", lambda: self._balanced.create_index(made.name, _IVF_FLAT, f'{{"nlist":{_NLIST}}}'))
        self._search(made)
        self._step("compact", lambda: self._balanced.on("Compact", made.name))
        self._search(made)
        self._step("read", lambda: self._compared(made))
        if made.tags:
            self._drop_partition(made, made.tags[0])
            self._search(made)

    def _insert(self, made: Cycle, tag: str, rows: int) -> None:
        first = 1 + max(made.ids, default=0)
        ids = range(first, first + rows)
        vectors = gaussian(rows, _DIMENSION, seed=self._random.randrange(1 << 32))
        made.truth.inserting(ids, vectors)
        self._step("insert", lambda: self._router.insert(made.name, vectors, ids, tag).status)
        made.rows.setdefault(tag, []).extend(ids)

    def _flush(self, made: Cycle) -> None:
        self._step("flush", lambda: self._router.flush(made.name))
        made.truth.inserted(made.ids)

    def _delete(self, made: Cycle) -> None:
        doomed = self._random.sample(made.ids, 20)
        made.truth.deleting(doomed)
        self._step("delete", lambda: self._router.delete(made.name, doomed))
        self._step("flush", lambda: self._router.flush(made.name))
        made.truth.deleted(doomed)
        made.rows = {tag: sorted(set(ids) - set(doomed)) for tag, ids in made.rows.items()}

    def _drop_partition(self, made: Cycle, tag: str) -> None:
        doomed = made.rows.pop(tag, [])
        made.truth.deleting(doomed)
        self._step("partition", lambda: self._router.call("DropPartition", _partition(made, tag)))
        made.truth.deleted(doomed)

    def _search(self, made: Cycle) -> None:
        """Once in the session with the router that was written through, once through any with nothing left out.

        While the database is away both go on with what was known last, so an answer may become right a while later.
        """
        for client, level in ((self._router, {"consistency_level": "Session"}), (self._balanced, _BOUNDED)):
            params = json.dumps({**level, "nprobe": _NLIST})
            end = time.monotonic() + _AWAY_S
            while (call := self._searched(client, made, params)).outcome is Outcome.WRONG and time.monotonic() < end:
                threading.Event().wait(_PAUSE_S)
            self._note(call)

    def _searched(self, client: NodeClient, made: Cycle, params: str) -> Call:
        queries = gaussian(3, _DIMENSION, seed=self._random.randrange(1 << 32))
        began = time.monotonic()
        call, found = self._asked("search", partial(client.search, made.name, queries, 10, params))
        if call.outcome is not Outcome.RIGHT:
            return call
        wrong = made.truth.fault(queries, 10, found, began, time.monotonic())
        return Call("search", began, call.ended, Outcome.WRONG if wrong else Outcome.RIGHT, wrong)

    def _compared(self, made: Cycle) -> Any:
        """Read some rows and how many there are; a status of what was read."""
        ids = made.ids
        count = self._balanced.call(
            "CountCollection", pb.CollectionName(collection_name=made.name), pb.CollectionRowCount
        )
        if not count.status.error_code and count.collection_row_count != len(ids):
            raise _Wrong(f"{count.collection_row_count} rows counted, {len(ids)} are there")
        return count.status

    def _step(self, kind: str, ask: Callable[[], Any]) -> None:
        call, _ = self._asked(kind, ask)
        self._note(call)

    def _asked(self, kind: str, ask: Callable[[], Any]) -> tuple[Call, Any]:
        replies: list[Any] = []
        began = time.monotonic()

        def status() -> Any:
            replies.append(ask())
            found = replies[0]
            return found if hasattr(found, "error_code") else _Status(found.code, found.reason)

        try:
            return timed(kind, status), replies[0] if replies else None
        except _Wrong as wrong:
            return Call(kind, began, time.monotonic(), Outcome.WRONG, str(wrong)), None

    def _note(self, call: Call) -> None:
        self.calls.append(call)
        if call.outcome is not Outcome.RIGHT:
            raise _Ended(call.kind)


class _Wrong(Exception):
    """What was read is not what is there."""


@dataclass(frozen=True)
class _Status:
    error_code: int
    reason: str


_BOUNDED = {"consistency_level": "Bounded", "graceful_time_ms": 0}


def _partition(made: Cycle, tag: str) -> pb.PartitionParam:
    return pb.PartitionParam(collection_name=made.name, tag=tag)
