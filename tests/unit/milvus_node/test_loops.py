from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from harness.waiting import eventually
from milvus_node.loops import Loop
from mishards.errors import MishardsError

WAIT_S = 20.0
NEVER_S = 3600.0


class Steps:
    """A step that counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.taken = 0
        self.names: set[str] = set()
        self.errors: list[Exception] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self) -> None:
        self.taken += 1
        self.names.add(threading.current_thread().name)
        self.free.wait(WAIT_S)
        if self.errors:
            raise self.errors.pop()


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def loop(steps: Steps) -> Iterator[Loop]:
    found = Loop("sweeping", 0.001, steps)
    yield found
    steps.free.set()
    found.stop()


def test_a_step_is_taken_again_and_again_on_a_thread_of_that_name(loop: Loop, steps: Steps) -> None:
    loop.start()
    eventually(lambda: steps.taken > 3, WAIT_S, "the loop runs")
    assert steps.names == {"sweeping"}


def test_a_step_that_fails_ends_nothing_and_is_counted(
    loop: Loop, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    steps.errors = [MishardsError("no room"), ValueError("a bug")]
    before = loop.last_success
    with caplog.at_level(logging.WARNING):
        loop.start()
        eventually(lambda: steps.taken > 3, WAIT_S, "the loop goes on")
    assert loop.failures == 2
    assert loop.last_success > before
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [
        ("ERROR", True),
        ("WARNING", False),
    ]


def test_a_stopped_loop_takes_no_further_step_and_may_be_stopped_again(loop: Loop, steps: Steps) -> None:
    loop.start()
    eventually(lambda: steps.taken, WAIT_S, "the loop runs")
    loop.stop()
    taken = steps.taken
    loop.stop()
    assert steps.taken == taken
    assert not loop._thread.is_alive()


def test_a_loop_between_two_steps_stops_at_once(steps: Steps) -> None:
    loop = Loop("idle", NEVER_S, steps)
    loop.start()
    loop.stop()
    assert not loop._thread.is_alive()
    assert steps.taken == 0


def test_a_loop_that_was_never_started_can_be_stopped(steps: Steps) -> None:
    Loop("idle", NEVER_S, steps).stop()
    assert steps.taken == 0


def test_a_loop_can_be_hurried_also_during_a_step(steps: Steps) -> None:
    loop = Loop("idle", NEVER_S, steps)
    steps.free.clear()
    loop.start()
    loop.hurry()
    eventually(lambda: steps.taken == 1, WAIT_S, "the first step")
    loop.hurry()
    steps.free.set()
    eventually(lambda: steps.taken == 2, WAIT_S, "the second step")
    loop.stop()


def test_stopping_does_not_wait_longer_than_it_is_told_to(loop: Loop, steps: Steps) -> None:
    steps.free.clear()
    loop.start()
    eventually(lambda: steps.taken, WAIT_S, "a step begins")
    loop.stop(0)
    assert loop._thread.is_alive()
    steps.free.set()
    loop.stop()
    assert (loop._thread.is_alive(), steps.taken) == (False, 1)
