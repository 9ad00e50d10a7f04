"""Waiting for a collection ends with the caller's deadline, and nothing is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

from harness.write_path import WAIT_S, WritePath
from milvus_node.ingest import flush, locks
from mishards.deadline import Deadline
from mishards.errors import DeadlineExceeded
from mishards.kinds import IndexType

SOON_S = 0.02


@contextmanager
def held(take: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Another thread holds a lock while the block lasts."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with take():
            taken.set()
            done.wait(WAIT_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(WAIT_S)
    try:
        yield
    finally:
        done.set()
        thread.join(WAIT_S)


def test_a_flush_waits_for_another_change_of_the_segments_until_its_deadline(node: WritePath) -> None:
    node.create()
    node.insert([1, 2])
    text = "the set of segments of words is still being changed"
    with held(lambda: node.parts.locks.structure("words")), pytest.raises(DeadlineExceeded, match=text):
        node.flusher.flush("words", Deadline.after(SOON_S))
    assert node.ids() == []
    node.flush()
    assert node.ids() == [1, 2]


def test_a_collection_that_is_held_up_holds_up_no_other(node: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "_PATIENCE_S", SOON_S)
    for name in ("a", "b", "c"):
        node.insert_into(node.create(name), [1])
    with held(lambda: node.parts.locks.structure("b")), pytest.raises(DeadlineExceeded):
        node.flusher.flush_all()
    assert [node.ids(name) for name in ("a", "b", "c")] == [[1], [], [1]]
    node.flusher.flush_all()
    assert [node.ids(name) for name in ("a", "b", "c")] == [[1]] * 3


def test_rows_wait_for_their_collection_until_their_deadline(node: WritePath) -> None:
    words = node.create()
    vectors = np.zeros((1, 16), np.uint8)
    with held(lambda: node.parts.locks.gate("words")):
        with pytest.raises(DeadlineExceeded, match="the way of rows into words"):
            node.rows.insert(words, "", np.array([1]), vectors, Deadline.after(SOON_S))
        with pytest.raises(DeadlineExceeded, match="the way of rows into words"):
            node.rows.delete(words, "", [1], Deadline.after(SOON_S))
    assert node.parts.buffer.pending() == []


def test_a_change_of_the_index_waits_for_another_until_its_deadline(node: WritePath) -> None:
    words = node.create()
    with held(lambda: node.parts.locks.definition("words")):
        with pytest.raises(DeadlineExceeded, match="the index of words"):
            node.collections.create_index(words, IndexType.IVF_FLAT, "{}", Deadline.after(SOON_S))
        with pytest.raises(DeadlineExceeded, match="the index of words"):
            node.collections.drop_index(words, Deadline.after(SOON_S))
    assert node.collection().index_type.is_flat


def test_who_has_no_deadline_waits_no_longer_than_a_change_may_take(
    node: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LONGEST_CHANGE_S", SOON_S)
    words = node.create()
    with held(lambda: node.parts.locks.structure("words")), pytest.raises(DeadlineExceeded):
        node.collections.create_partition(words, "p")
    node.collections.create_partition(words, "p")
