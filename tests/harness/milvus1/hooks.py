"""Where a test reaches into a node of the double: pauses between statements, delays, failures, broken connections."""

from __future__ import annotations

import threading
from types import TracebackType

from harness.milvus1.kinds import Code, Refused


class Point:
    """Places between two statements, or between a file and its row, where ``Hooks.pause_at`` can stop a node.

    Besides these, ``rpc NAME`` (``rpc Search``) is where the call's group has taken it up and begun nothing.
    """

    FLUSH_NEW = "flush: the row is NEW"
    """The files of a flushed segment are written, its row is not yet visible."""
    DELETE_WRITTEN = "delete: written"
    """``deleted_docs`` is replaced, ``row_count`` and ``updated_time`` are as before."""
    MERGE_NEW = "merge: the row is NEW_MERGE"
    MERGE_GAP = "merge: gap"
    """The sources are TO_DELETE, the merged file is not yet visible: rows are missing."""
    INDEX_NEW = "index: the row is NEW_INDEX"
    INDEX_BOTH = "index: both"
    """The index file is visible and so is its raw file: rows are doubled, under one segment."""
    INDEX_DROPPED = "drop index: gap"
    """The index file is TO_DELETE, its raw file still BACKUP: rows are missing."""
    COMPACT_BOTH = "compact: both"
    """The compacted file is visible and so are the old ones: rows are doubled, under two segments."""


class Killed(Exception):
    """The node was killed; what it was doing ends here."""


class Pause:
    """A stop for the next arrival at one point; releases it at the end of the ``with`` block."""

    def __init__(self, point: str) -> None:
        self.point = point
        self._reached = threading.Event()
        self._released = threading.Event()

    def __enter__(self) -> Pause:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def wait_reached(self, timeout_s: float = 10) -> None:
        """Wait until something has stopped here.

        Raises:
            AssertionError: when nothing has within ``timeout_s``.
        """
        assert self._reached.wait(timeout_s), f"nothing reached {self.point!r} within {timeout_s:g} s"

    def release(self) -> None:
        """Let what stopped here go on; a later arrival is not stopped."""
        self._released.set()

    def stop_here(self) -> None:
        """Wait for the release; the double calls it."""
        self._reached.set()
        self._released.wait()


class Hooks:
    """The pauses and faults of one node. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pauses: list[Pause] = []
        self._pauses_ahead: list[Pause] = []
        self._delays: dict[str, float] = {}
        self._failures: dict[str, list[Refused]] = {}
        self._drops: dict[str, int] = {}
        self._killed = threading.Event()

    def pause_at(self, point: str) -> Pause:
        """Stop the next arrival at a point, in whatever thread; other threads go on until they need what it holds."""
        pause = Pause(point)
        with self._lock:
            self._pauses.append(pause)
            self._pauses_ahead.append(pause)
        return pause

    def release_all(self) -> None:
        """Release every pause, reached or not."""
        with self._lock:
            pauses = list(self._pauses)
        for pause in pauses:
            pause.release()

    def delay(self, method: str, seconds: float) -> None:
        """Let every call of a method take this much longer, inside its group's only thread; 0 ends it."""
        with self._lock:
            self._delays[method] = seconds

    def fail_next(self, method: str, times: int = 1, reason: str = "injected", code: int = Code.UNEXPECTED) -> None:
        """Answer the next calls of a method with this status, without doing anything."""
        with self._lock:
            self._failures.setdefault(method, []).extend([Refused(code, reason)] * times)

    def drop_next(self, method: str, times: int = 1) -> None:
        """Break all connections of the node when the next calls of a method arrive; the calls are not carried out."""
        with self._lock:
            self._drops[method] = self._drops.get(method, 0) + times

    def takes_drop(self, method: str) -> bool:
        """Is this call one that breaks the connection? The double asks once a call."""
        with self._lock:
            left = self._drops.get(method, 0)
            self._drops[method] = max(0, left - 1)
        return left > 0

    def begin(self, method: str) -> None:
        """Pause, delay or refuse a call that its group has taken up; the double calls it.

        Raises:
            Refused: as ``fail_next`` has ordered.
        """
        self.reach(f"rpc {method}")
        with self._lock:
            seconds = self._delays.get(method, 0)
            failures = self._failures.get(method)
            failure = failures.pop(0) if failures else None
        if seconds and self._killed.wait(seconds):
            raise Killed
        if failure is not None:
            raise failure

    def reach(self, point: str) -> None:
        """Stop here if a test has asked for it; the double calls it.

        Raises:
            Killed: when the node has been killed.
        """
        with self._lock:
            pause = next((pause for pause in self._pauses_ahead if pause.point == point), None)
            if pause is not None:
                self._pauses_ahead.remove(pause)
        if pause is not None:
            pause.stop_here()
        self.check_alive()

    def check_alive(self) -> None:
        """Do nothing.

        Raises:
            Killed: when the node has been killed.
        """
        if self._killed.is_set():
            raise Killed

    def wait(self, seconds: float) -> None:
        """Wait a moment.

        Raises:
            Killed: when the node is killed meanwhile.
        """
        if self._killed.wait(seconds):
            raise Killed

    def kill(self) -> None:
        """End everything that pauses or waits, and every next statement, with ``Killed``."""
        self._killed.set()
        self.release_all()
