"""Mixed load on one collection, every call of it recorded and every answer checked against the exact truth.

Searches that must know of the latest writes, searches that need not, inserts and deletes, each from a thread of its
own and at a pace of its own; tests add what else they want to have done meanwhile. A call that fails is repeated a few
times if it only reads; one that writes never is, and its rows are then unknown for good.
"""

from __future__ import annotations

import contextlib
import enum
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np

from harness.milvus1.client import NodeClient
from harness.truth import Truth
from harness.vectors import Floats, gaussian
from harness.waiting import eventually

SEARCH, STRONG, INSERT, DELETE = "search", "strong", "insert", "delete"
READS = (SEARCH, STRONG)
WRITES = (INSERT, DELETE)
_LEVELS = {SEARCH: "Eventually", STRONG: "Strong"}

_DECLARED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""What a caller can act on; any other status says that nobody had thought of it."""


class Outcome(str, enum.Enum):
    """How a call ended."""

    RIGHT = "right"
    FAILED = "failed"
    """With a declared error; whether a write was done is unknown."""
    ODD = "odd"
    """With an error that declares nothing."""
    WRONG = "wrong"
    """Answered, and not with the truth."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client, with its repetitions. Times in seconds, of ``time.monotonic``."""

    kind: str
    began: float
    ended: float
    outcome: Outcome
    detail: str = ""
    """What was wrong; of a right answer, why the last attempt before it failed."""
    failures: int = 0
    """Attempts that failed before the one that counted."""

    @property
    def seconds(self) -> float:
        """From the first attempt to the last answer."""
        return self.ended - self.began


@dataclass(frozen=True)
class Load:
    """How much is done."""

    dimension: int = 16
    rows: int = 1000
    """About so many are there; the oldest are deleted."""
    batch: int = 10
    pause_s: float = 0.04
    """Between the calls of each thread."""
    timeout_s: float = 8.0
    """The deadline that clients give to each attempt."""
    retries: int = 3
    """How often a search that failed is repeated."""


class CallError(Exception):
    """A call did not succeed; ``outcome`` is ``FAILED`` or ``ODD``."""

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


Act = Callable[[NodeClient, random.Random], "Call | None"]
"""What a thread does again and again; a call that it returns is recorded."""


class Traffic:
    """The load, from ``with`` to the end of its block; ``fill`` comes first."""

    def __init__(self, address: str, collection: str, truth: Truth, load: Load | None = None, *, seed: int = 0) -> None:
        """Describe it; nothing runs yet. ``seed`` decides all that is random."""
        self.collection, self.truth, self.load = collection, truth, load or Load()
        self._address, self._seed = address, seed
        self._calls: list[Call] = []
        self._next = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._gates: list[threading.Lock] = []
        """One a thread, which holds it while it acts."""
        for kind in READS:
            self.also(kind, self._search(kind))
        self.also("write", self._write)

    def also(self, name: str, act: Act, pause_s: float = 0.0) -> None:
        """Have a thread more that acts again and again, at the load's pace or its own; before the load begins."""
        gate, pause_s = threading.Lock(), pause_s or self.load.pause_s
        run = partial(self._run, name, act, pause_s, gate)
        self._threads.append(threading.Thread(target=run, name=f"traffic-{name}", daemon=True))
        self._gates.append(gate)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have no call of the load under way for as long as the block lasts."""
        with contextlib.ExitStack() as gates:
            for gate in self._gates:
                gates.enter_context(gate)
            yield

    def fill(self) -> None:
        """Make the collection and as many rows as there shall be; whatever fails raises."""
        with self.client() as client:
            status = client.create(self.collection, self.load.dimension, index_file_size=1)
            assert not status.error_code, status
            for _ in range(0, self.load.rows, 100):
                call = self.insert(client, 100)
                assert call.outcome is Outcome.RIGHT, call
            assert not client.flush(self.collection).error_code

    def client(self) -> NodeClient:
        """A client with the load's deadline."""
        return NodeClient(self._address, self.load.timeout_s)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def calls(self, since: float = 0.0) -> list[Call]:
        """Every call that has ended and began at ``since`` or later, in the order in which they ended."""
        with self._lock:
            return [call for call in self._calls if call.began >= since]

    def wait_right(self, kinds: Iterable[str], count: int, since: float, timeout_s: float = 30) -> None:
        """Wait until so many calls of each kind that began since then have ended rightly.

        Raises:
            AssertionError: when they have not, with what became of the calls.
        """
        kinds = list(kinds)

        def enough() -> bool:
            right = [call.kind for call in self.calls(since) if call.outcome is Outcome.RIGHT]
            return all(right.count(kind) >= count for kind in kinds)

        eventually(enough, timeout_s, lambda: f"{count} right calls of {kinds}; the last {self.calls(since)[-5:]}")

    def insert(self, client: NodeClient, rows: int, tag: str = "") -> Call:
        """Insert so many new rows; used by the load, and by tests beside it."""
        return self.insert_ids(client, self.new_ids(rows), tag)

    def new_ids(self, rows: int) -> range:
        """Ids that were not sent before."""
        with self._lock:
            self._next += rows
            return range(self._next - rows, self._next)

    def insert_ids(self, client: NodeClient, ids: range, tag: str = "") -> Call:
        """Insert rows with these ids."""
        rows = len(ids)
        vectors = gaussian(rows, self.load.dimension, seed=hash((self._seed, ids.start)) % 2**32)
        self.truth.inserting(ids, vectors)
        call = timed(INSERT, lambda: client.insert(self.collection, vectors, ids, tag).status)
        if call.outcome is Outcome.RIGHT:
            self.truth.inserted(ids)
        return call

    def delete(self, client: NodeClient, ids: list[int]) -> Call:
        """Delete rows."""
        self.truth.deleting(ids)
        call = timed(DELETE, lambda: client.delete(self.collection, ids))
        if call.outcome is Outcome.RIGHT:
            self.truth.deleted(ids)
        return call

    def _write(self, client: NodeClient, chance: random.Random) -> Call:
        kept = self.truth.kept()
        if len(kept) > self.load.rows:
            oldest = kept[: 4 * self.load.batch]
            return self.delete(client, chance.sample(oldest, self.load.batch))
        return self.insert(client, self.load.batch)

    def _search(self, kind: str) -> Act:
        params = json.dumps({"consistency_level": _LEVELS[kind]})

        def search(client: NodeClient, chance: random.Random) -> Call:
            queries = gaussian(chance.choice((1, 3)), self.load.dimension, seed=chance.randrange(1 << 32))
            topk, began, failures, last = chance.choice((1, 10, 100)), time.monotonic(), 0, ""
            while True:
                attempt = time.monotonic()
                try:
                    wrong = self._judged(client, queries, topk, params, latest=kind == STRONG)
                except CallError as error:
                    if failures < self.load.retries and not self._stopping.wait(0.02):
                        failures, last = failures + 1, str(error)
                        continue
                    return Call(kind, began, time.monotonic(), error.outcome, str(error), failures)
                outcome = Outcome.WRONG if wrong else Outcome.RIGHT
                detail = f"{wrong} (began {attempt - began:.2f} s after the first attempt)" if wrong else last
                return Call(kind, began, time.monotonic(), outcome, detail, failures)

        return search

    def _judged(self, client: NodeClient, queries: Floats, topk: int, params: str, *, latest: bool) -> str:
        began = time.monotonic()
        try:
            found = client.search(self.collection, queries, topk, params)
        except grpc.RpcError as error:
            raise _broken(error) from error
        if found.code:
            raise _refused(found.code, found.reason)
        return self.truth.fault(queries, topk, found, began, time.monotonic(), latest=latest)

    def _run(self, name: str, act: Act, pause_s: float, gate: threading.Lock) -> None:
        chance = random.Random(f"{self._seed}-{name}")
        with self.client() as client:
            while not self._stopping.wait(pause_s):
                with gate:
                    call = act(client, chance)
                if call is not None:
                    with self._lock:
                        self._calls.append(call)


def timed(kind: str, ask: Callable[[], Any]) -> Call:
    """Make one call that returns a status, and record how it ended."""
    began = time.monotonic()
    outcome, detail = Outcome.RIGHT, ""
    try:
        status = ask()
        if status.error_code:
            raise _refused(status.error_code, status.reason)
    except grpc.RpcError as error:
        outcome, detail = _broken(error).outcome, str(_broken(error))
    except CallError as error:
        outcome, detail = error.outcome, str(error)
    return Call(kind, began, time.monotonic(), outcome, detail)


def present(client: NodeClient, collection: str, truth: Truth, ids: list[int]) -> list[int]:
    """Those of the rows that a strong search for each finds: its own vector, at distance 0."""
    found: list[int] = []
    params = json.dumps({"consistency_level": "Strong"})
    for first in range(0, len(ids), 200):
        some = ids[first : first + 200]
        reply = client.search(collection, truth.vectors(some), 1, params)
        assert not reply.code, reply
        hits = np.array(reply.ids).reshape(-1)
        found += [number for number, hit in zip(some, hits, strict=True) if number == hit]
    return found


def _broken(error: grpc.RpcError) -> CallError:
    code = error.code()
    return CallError(Outcome.FAILED if code in _DECLARED else Outcome.ODD, f"{code.name}: {error.details()}")


def _refused(code: int, reason: str) -> CallError:
    return CallError(Outcome.FAILED if reason else Outcome.ODD, f"code {code}: {reason}")
