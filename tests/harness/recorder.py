"""Clients that search without pause while a test breaks things, and judge every answer.

``Recorder`` searches from several threads and sorts what comes back into right answers, declared errors (a status or a
broken call), and wrong ones, by what a ``Truth`` says.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc

from harness.milvus1.client import NodeClient
from harness.truth import Truth
from harness.vectors import Floats
from harness.waiting import eventually


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
