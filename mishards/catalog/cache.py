"""The last good snapshot, kept fresh by one thread.

Invariants: ``current`` only ever moves forward in ``taken_at``; at most one read is under way; a database that is away
or frozen changes nothing but the age.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from mishards.catalog.snapshot import Snapshot
from mishards.errors import CatalogError, ShuttingDown

log = logging.getLogger(__name__)

Read = Callable[[Snapshot | None], Snapshot]


class SnapshotCache:
    """Holds the newest snapshot and refreshes it in the background and on demand. Safe to use from any thread."""

    def __init__(self, read: Read, *, interval_s: float = 0.5) -> None:
        """Keep what ``read`` returns; it is only ever called on the cache's own thread."""
        self._read = read
        self._interval_s = interval_s
        self._wake = threading.Condition()
        self._waiting: list[tuple[float, Future[Snapshot]]] = []
        self._current: Snapshot | None = None
        self._error: CatalogError | None = None
        self._reading_since: float | None = None
        self._closing = False
        self.reads = self.failures = 0
        """Reads that have ended, and those of them that failed."""
        self.read_s = 0.0
        """Seconds that they took together."""
        self.read_at = time.monotonic()
        """When the last of them ended."""
        self._refresher = threading.Thread(target=self._run, name="catalog-refresh", daemon=True)

    def start(self) -> None:
        """Begin to read; ``close`` ends it."""
        self._refresher.start()

    def close(self) -> None:
        """Stop the thread and fail those who wait. May be repeated."""
        with self._wake:
            self._closing = True
            waiting, self._waiting = self._waiting, []
            self._wake.notify_all()
        self._settle([future for _, future in waiting], None, ShuttingDown())
        if self._refresher.ident is not None:
            self._refresher.join(timeout=5)

    @property
    def current(self) -> Snapshot | None:
        """The last good snapshot; None until the first read succeeded."""
        return self._current

    @property
    def age_s(self) -> float:
        """Seconds since the last good snapshot was taken; infinite before the first."""
        current = self._current
        return float("inf") if current is None else time.monotonic() - current.taken_at

    @property
    def error(self) -> CatalogError | None:
        """Why the last read failed; None when it succeeded."""
        return self._error

    @property
    def stalled_s(self) -> float:
        """How long the read under way has taken, in seconds; 0 when none is."""
        since = self._reading_since
        return 0.0 if since is None else time.monotonic() - since

    def fresh(self, not_before: float) -> Future[Snapshot]:
        """A snapshot whose read began at or after the monotonic time ``not_before``.

        Many who ask at once share one read. The future fails with a CatalogError when that read fails; callers
        bound how long they wait and fall back to ``current``.
        """
        future: Future[Snapshot] = Future()
        with self._wake:
            current = self._current
            if current is not None and current.taken_at >= not_before:
                future.set_result(current)
            elif self._closing:
                future.set_exception(ShuttingDown())
            else:
                self._waiting.append((not_before, future))
                self._wake.notify_all()
        return future

    def _run(self) -> None:
        while self._refresh_once():
            with self._wake:
                if not self._waiting and not self._closing:
                    self._wake.wait(self._interval_s)
                elif self._error is not None and not self._closing:
                    self._wake.wait(min(0.05, self._interval_s))
                if self._closing:
                    return

    def _refresh_once(self) -> bool:
        """Read once and settle who can be settled; False when the cache was closed meanwhile."""
        began = time.monotonic()
        self._reading_since = began
        snapshot, error = None, None
        try:
            snapshot = self._read(self._current)
        except CatalogError as failure:
            error = failure
        except Exception as failure:
            log.exception("reading the catalog failed in a way that is a bug")
            error = CatalogError(f"reading the catalog failed: {failure}")
        self._reading_since = None
        self.reads += 1
        self.failures += error is not None
        self.read_at = time.monotonic()
        self.read_s += self.read_at - began
        with self._wake:
            if snapshot is not None:
                self._current = snapshot
            self._note(error)
            reach = began if snapshot is None else snapshot.taken_at
            ready = [future for not_before, future in self._waiting if not_before <= reach]
            self._waiting = [entry for entry in self._waiting if entry[0] > reach]
            closing = self._closing
        self._settle(ready, snapshot, error)
        return not closing

    def _note(self, error: CatalogError | None) -> None:
        if error is not None and self._error is None:
            log.warning("catalog is away: %s", error)
        elif error is None and self._error is not None:
            log.info("catalog is back")
        self._error = error

    @staticmethod
    def _settle(futures: list[Future[Snapshot]], snapshot: Snapshot | None, error: Exception | None) -> None:
        for future in futures:
            with suppress(InvalidStateError):  # who asked has given up
                if snapshot is not None:
                    future.set_result(snapshot)
                else:
                    future.set_exception(error or ShuttingDown())
