"""Discoveries that look again and again: the thread, its stop, and what the listener hears of each look."""

from __future__ import annotations

import threading

from mishards.discovery.api import Listener
from mishards.errors import DiscoveryError
from mishards_plugins.discovery.reports import Found, Reports

_JOIN_S = 2.0


class PolledDiscovery:
    """A subclass says what a look is. It looks on one thread, which is the only one that calls the listener."""

    def __init__(self, name: str, after_loss_s: float) -> None:
        """``name`` is the backend's, in the thread's name, ``after_loss_s`` the pause after a look that failed."""
        self._name = name
        self._after_loss_s = after_loss_s
        self.stopped = threading.Event()
        """Set once nobody waits for a look any more."""
        self._reports: Reports | None = None
        self._thread: threading.Thread | None = None

    def look(self) -> tuple[Found, float]:
        """What stands there now, and seconds until the next look. Raises DiscoveryError when that cannot be known."""
        raise NotImplementedError

    def open(self, listener: Listener) -> None:
        """Begin to look."""
        self._reports = Reports(listener)
        self._thread = threading.Thread(
            target=self._run, args=(self._reports,), name=f"discovery-{self._name}-poll", daemon=True
        )
        self._thread.start()
        self._reports.wait_first()

    def close(self) -> None:
        """Stop looking."""
        self.stopped.set()
        if self._reports is not None:
            self._reports.stop()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self, reports: Reports) -> None:
        while not self.stopped.is_set():
            pause_s = self._after_loss_s
            try:
                found, pause_s = self.look()
            except DiscoveryError as error:
                reports.lost(error)
            else:
                reports.found(found)
            self.stopped.wait(pause_s)
