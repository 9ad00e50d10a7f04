"""Clients that search without pause while a test breaks things, and judge every answer.

``Truth`` knows which rows an answer must have and which it may have: a row whose insert or delete is under way while
a search runs may be in its answer or not. ``Recorder`` searches from several threads and sorts what comes back into
right answers, declared errors (a status or a broken call), and wrong ones.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
import numpy as np

from harness.milvus1.client import Found, NodeClient
from harness.vectors import Floats, squared_l2
from harness.waiting import eventually

_NEVER = float("inf")


@dataclass
class _Row:
    vector: Floats
    begun: float
    visible: float = _NEVER
    """When the flush after its insert had been acknowledged."""
    leaving: float = _NEVER
    gone: float = _NEVER
    """When the flush after its delete had been acknowledged."""


class Truth:
    """The rows of one L2 collection over time. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._lock = threading.Lock()

    def inserting(self, ids: Iterable[int], vectors: Floats) -> None:
        """Rows are about to be sent: from now on an answer may have them."""
        now = time.monotonic()
        with self._lock:
            self._rows.update({number: _Row(vector, now) for number, vector in zip(ids, vectors, strict=True)})

    def inserted(self, ids: Iterable[int]) -> None:
        """They have been acknowledged and flushed: every later answer must have them."""
        now = time.monotonic()
        with self._lock:
            for number in ids:
                self._rows[number].visible = now

    def deleting(self, ids: Iterable[int]) -> None:
        """A delete is about to be sent: an answer need not have these rows any more."""
        now = time.monotonic()
        with self._lock:
            for number in ids:
                self._rows[number].leaving = now

    def deleted(self, ids: Iterable[int]) -> None:
        """It has been acknowledged and flushed: no later answer may have them."""
        now = time.monotonic()
        with self._lock:
            for number in ids:
                self._rows[number].gone = now

    def fault(self, queries: Floats, topk: int, found: Found, began: float, ended: float) -> str:
        """Return what is wrong with an answer to a search between two times, or nothing."""
        with self._lock:
            rows = {number: row for number, row in self._rows.items() if row.begun <= ended and row.gone > began}
        ids = np.array(sorted(rows), np.int64)
        certain = np.array([rows[n].visible <= began and rows[n].leaving > ended for n in ids], bool)
        vectors = np.stack([rows[n].vector for n in ids]) if len(ids) else np.empty((0, queries.shape[1]), np.float32)
        distances = squared_l2(queries, vectors)
        if len(found.ids) != (len(queries) if certain.any() else len(found.ids)):
            return f"{len(found.ids)} rows for {len(queries)} queries"
        for row, (hits, said) in enumerate(zip(found.ids, found.distances, strict=True)):
            if wrong := _fault_of_row(ids, certain, distances[row], topk, (hits, said)):
                return f"query {row}: {wrong}"
        return ""


def _fault_of_row(
    ids: np.ndarray, certain: np.ndarray, distances: np.ndarray, topk: int, answer: tuple[list[int], list[float]]
) -> str:
    kept = [place for place, number in enumerate(answer[0]) if number != -1]
    hits, said = np.array(answer[0], np.int64)[kept], np.array(answer[1], np.float32)[kept]
    places = np.searchsorted(ids, hits)
    known = places < len(ids)
    known[known] = ids[places[known]] == hits[known]
    if not known.all():
        return f"ids {hits[~known][:5].tolist()} are not there, or no longer"
    if len(np.unique(hits)) != len(hits):
        return "an id is there twice"
    if not np.allclose(distances[places], said, rtol=1e-4, atol=1e-4) or (np.diff(said) < 0).any():
        return "distances are wrong or out of order"
    if len(hits) > topk:
        return f"{len(hits)} hits for topk {topk}"
    if len(hits) < min(topk, int(certain.sum())):
        return f"short: {len(hits)} hits of {min(topk, int(certain.sum()))}"
    horizon = said[-1] * (1 - 1e-4) if len(hits) == topk else np.inf
    missing = np.setdiff1d(ids[certain & (distances < horizon)], hits)
    return f"ids {missing[:5].tolist()} are missing" if len(missing) else ""


@dataclass
class Tally:
    """What came back so far; texts of errors and faults, oldest first."""

    answers: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        errors, wrong = (Counter(texts).most_common(3) for texts in (self.errors, self.wrong))
        return f"{self.answers} right, {len(self.errors)} errors {errors}, {len(self.wrong)} wrong {wrong}"


class Recorder:
    """Searches ``collection`` at ``address`` from its threads until the end of the ``with`` block.

    ``retries`` is how often a client repeats a search that failed before it counts as an error.
    """

    def __init__(
        self, address: str, collection: str, truth: Truth, queries: Floats, *, params: str = "{}", retries: int = 0
    ) -> None:
        """Describe the clients; nothing runs yet."""
        self._address, self._collection, self._params = address, collection, params
        self._truth, self._queries, self._retries = truth, queries, retries
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._tally = Tally()
        topks = (10, 100)
        self._threads = [
            threading.Thread(target=self._run, args=(topk,), name=f"recorder-{topk}", daemon=True) for topk in topks
        ]

    def __enter__(self) -> Recorder:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def tally(self) -> Tally:
        """A copy of the counts."""
        with self._lock:
            return Tally(self._tally.answers, list(self._tally.errors), list(self._tally.wrong))

    def wait_answers(self, further: int, timeout_s: float = 30) -> None:
        """Wait for so many more right answers: the floor under what a test has proven.

        Raises:
            AssertionError: when they have not come, with the counts.
        """
        target = self.tally.answers + further
        eventually(lambda: self.tally.answers >= target, timeout_s, lambda: f"{further} more answers; {self.tally}")

    def assert_clean(self) -> None:
        """Raise AssertionError unless every search was answered, and rightly."""
        tally = self.tally
        assert not tally.errors and not tally.wrong, str(tally)  # noqa: PT018 - one message for both

    def assert_never_wrong(self) -> None:
        """Raise AssertionError when an answer was wrong; declared errors are allowed."""
        tally = self.tally
        assert not tally.wrong, str(tally)

    def _run(self, topk: int) -> None:
        with NodeClient(self._address) as client:
            while not self._stop.is_set():
                self._once(client, topk)

    def _once(self, client: NodeClient, topk: int) -> None:
        error = ""
        for _ in range(self._retries + 1):
            began = time.monotonic()
            try:
                found = client.search(self._collection, self._queries, topk, self._params)
            except grpc.RpcError as broken:
                error = f"{broken.code()}: {broken.details()}"
                continue
            ended = time.monotonic()
            error = f"{found.code}: {found.reason}" if found.code else ""
            if not error:
                self._note(self._truth.fault(self._queries, topk, found, began, ended))
                return
        with self._lock:
            self._tally.errors.append(error)

    def _note(self, fault: str) -> None:
        with self._lock:
            if fault:
                self._tally.wrong.append(fault)
            else:
                self._tally.answers += 1
