"""Announcing where a record must be looked after: a lease to renew, a session that ends, a server that forgets.

A plugin says what one entry is; whoever announces claims its name, which a dead process may hold for a while yet, and
then puts the entry again and again for as long as the process lives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from mishards.discovery.api import NodeRecord
from mishards.errors import DiscoveryError

log = logging.getLogger(__name__)

_PAUSE_S = 0.3
_JOIN_S = 3.0


class Entry(Protocol):
    """One process's entry in a backend. Never used by two threads at once."""

    @property
    def every_s(self) -> float:
        """How often it must be put while nothing happens to it."""
        ...

    @property
    def takeover_s(self) -> float:
        """How long a dead process's entry may still stand."""
        ...

    def place(self, node: str) -> str:
        """Where the entry of a node of that name stands, in words."""
        ...

    def put(self, node: NodeRecord) -> bool:
        """Have it stand as it should; False when another process's stands there.

        Raises:
            DiscoveryError: the backend cannot be reached, or will never take it.
        """
        ...

    def remove(self) -> None:
        """Take it away, and let go of what it needed. Raises DiscoveryError when it is left to expire."""
        ...


class KeptAnnouncer:
    """Holds this process's entry, and puts it again when it was lost."""

    def __init__(self, backend: str, connect: Callable[[threading.Event], Entry]) -> None:
        """``connect`` may raise DiscoveryError; the event it is given is for the entry to say: look after me now."""
        self._backend = backend
        self._connect = connect
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._entry: Entry | None = None
        self._node: NodeRecord | None = None
        self._keeper: threading.Thread | None = None

    def announce(self, node: NodeRecord) -> None:
        """Put the entry, or replace what it holds.

        A name that is taken is waited for: its process may be dead and its time not over yet. A record that could not
        replace the one before is put in place once the backend is back.

        Raises:
            DiscoveryError: the backend cannot be reached, or a living process holds the name.
        """
        if self._node is not None and self._node.name != node.name:
            raise DiscoveryError(f"this announcer holds {self._node.name}; it cannot also announce {node.name}")
        entry = self._entry or self._connect(self._wake)
        with self._lock:
            self._node = node
        try:
            self._claim(entry, node.name)
        except DiscoveryError:
            if self._entry is None:
                self._remove(entry, node.name)
            raise
        if self._entry is None:
            self._entry = entry
            self._stopped.clear()
            self._keeper = threading.Thread(
                target=self._keep, args=(entry,), name=f"discovery-{self._backend}-keep", daemon=True
            )
            self._keeper.start()

    def withdraw(self) -> None:
        """Take the entry away."""
        self._stopped.set()
        self._wake.set()
        if self._entry is not None and self._keeper is not None and self._node is not None:
            self._keeper.join(_JOIN_S)
            self._remove(self._entry, self._node.name)
        self._entry = self._keeper = None

    def _claim(self, entry: Entry, name: str) -> None:
        begun = time.monotonic()
        while not self._put(entry):
            if time.monotonic() >= begun + entry.takeover_s:
                place = entry.place(name)
                raise DiscoveryError(f"a living process already announces node {name} as {place} in {self._backend}")
            self._wake.wait(0.2)
            self._wake.clear()

    def _keep(self, entry: Entry) -> None:
        complained = False
        while not self._stopped.is_set():
            self._wake.wait(_PAUSE_S if complained else entry.every_s)
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                trouble = "" if self._put(entry) else "another process took the name"
            except DiscoveryError as error:
                trouble = str(error)
            if trouble and not complained:
                log.warning("this node is not announced in %s; trying on: %s", self._backend, trouble)
            complained = bool(trouble)

    def _put(self, entry: Entry) -> bool:
        with self._lock:
            return self._node is None or entry.put(self._node)

    def _remove(self, entry: Entry, name: str) -> None:
        with self._lock:
            self._node = None
            try:
                entry.remove()
            except DiscoveryError as error:
                log.warning("%s in %s is left to expire: %s", entry.place(name), self._backend, error)
