"""What a discovery has told its listener, so that it tells only what is new; for plugins that follow a server.

Invariants: the listener hears of a loss once, and only after a set or before the first; nothing is reported once
``stop`` was called; an entry that is no node is logged once for as long as it stands.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from mishards.discovery.api import Listener, NodeRecord
from mishards.errors import DiscoveryError

log = logging.getLogger(__name__)

FIRST_S = 5.0
"""How long opening a discovery may wait for the first report."""


@dataclass(frozen=True, slots=True)
class Found:
    """A whole set, and what stood there besides and is no node, in words."""

    nodes: frozenset[NodeRecord]
    left_out: frozenset[str] = frozenset()


class Reports:
    """Reports to one listener. One thread reports; any may stop it and wait."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._stopped = threading.Event()
        self._first = threading.Event()
        self._reported: frozenset[NodeRecord] | None = None
        self._left_out: Iterable[str] = frozenset()

    @property
    def stopped(self) -> bool:
        """Was ``stop`` called?"""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Report nothing from now on, and let nobody wait."""
        self._stopped.set()
        self._first.set()

    def wait_first(self) -> None:
        """Return after the first report, or ``FIRST_S`` seconds."""
        self._first.wait(FIRST_S)

    def found(self, found: Found) -> None:
        """All nodes that exist now."""
        for text in sorted(found.left_out.difference(self._left_out)):
            log.warning("left out of discovery: %s", text)
        self._left_out = found.left_out
        if found.nodes != self._reported and not self.stopped:
            self._listener.nodes(found.nodes)
        self._reported = found.nodes
        self._first.set()

    def lost(self, error: DiscoveryError) -> None:
        """The server cannot be asked."""
        if (self._reported is not None or not self._first.is_set()) and not self.stopped:
            self._listener.lost(error)
        self._reported = None
        self._first.set()
