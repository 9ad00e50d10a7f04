from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from harness.waiting import eventually
from milvus_node.service import threads
from milvus_node.service.threads import Threads

WAIT_S = 20.0


class Owner:
    """Wakes threads that note which they are."""

    def __init__(self, most: int = 4) -> None:
        self.lock = threading.Lock()
        self.done: list[threading.Thread] = []
        self.threads = Threads("work", most, self.lock, self._work)

    def _work(self) -> None:
        with self.lock:
            self.done.append(threading.current_thread())
            self.threads.rest()

    def wake(self, times: int = 1) -> None:
        with self.lock:
            for _ in range(times):
                self.threads.wake()

    def has_done(self, times: int) -> None:
        eventually(lambda: len(self.done) == times, WAIT_S, f"work was done {times} times")

    def close(self) -> None:
        with self.lock:
            self.threads.close()


@pytest.fixture
def owner() -> Iterator[Owner]:
    found = Owner()
    yield found
    found.close()


def test_a_thread_that_rests_is_the_one_that_is_woken(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LINGER_S", WAIT_S)
    for times in range(1, 6):
        owner.wake()
        owner.has_done(times)
    assert len(set(owner.done)) == 1
    assert owner.done[0].name.startswith("work")


def test_each_that_is_woken_does_the_work_once(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LINGER_S", 0.001)
    for _ in range(50):
        owner.wake(4)
    owner.has_done(200)


def test_a_thread_that_rested_long_goes_and_work_is_done_again_later(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_LINGER_S", 0.001)
    owner.wake()
    owner.has_done(1)
    eventually(lambda: not owner.threads._resting, WAIT_S, "no thread rests")
    owner.wake()
    owner.has_done(2)


def test_threads_go_when_they_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LINGER_S", WAIT_S)
    owner = Owner()
    owner.wake(2)
    owner.has_done(2)
    owner.close()
    eventually(lambda: not any(thread.is_alive() for thread in owner.done), WAIT_S, "the threads have ended")
