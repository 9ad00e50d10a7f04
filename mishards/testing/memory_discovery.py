"""A discovery and announcer in memory, for tests."""

from __future__ import annotations

import threading

from mishards.discovery.api import Listener, NodeRecord
from mishards.errors import DiscoveryError


class MemoryBackend:
    """Holds the nodes, and tells those who watch. Safe to use from any thread."""

    def __init__(self, *nodes: NodeRecord) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._lost = False
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []

    def discovery(self) -> MemoryDiscovery:
        """A discovery on this backend."""
        return MemoryDiscovery(self)

    def announcer(self) -> MemoryAnnouncer:
        """An announcer on this backend."""
        return MemoryAnnouncer(self)

    def publish(self, *nodes: NodeRecord) -> None:
        """Make these the nodes that exist."""
        with self._lock:
            self._nodes = {node.name: node for node in nodes}
            self._tell()

    def put(self, node: NodeRecord) -> None:
        """Add or replace a node."""
        with self._lock:
            self._nodes[node.name] = node
            self._tell()

    def remove(self, name: str) -> None:
        """Take a node out."""
        with self._lock:
            self._nodes.pop(name, None)
            self._tell()

    def has(self, name: str) -> bool:
        """Is there a node of that name?"""
        return name in self._nodes

    def lose(self) -> None:
        """Become unreachable."""
        with self._lock:
            self._lost = True
            self._tell()

    def restore(self) -> None:
        """Become reachable again."""
        with self._lock:
            self._lost = False
            self._tell()

    def watch(self, listener: Listener) -> None:
        """Tell a listener what is known, and from now on what changes."""
        with self._lock:
            self._listeners.append(listener)
            self._report(listener)

    def unwatch(self, listener: Listener) -> None:
        """Tell it nothing more."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            self._report(listener)

    def _report(self, listener: Listener) -> None:
        if self._lost:
            listener.lost(DiscoveryError("the memory backend was told to be away"))
        else:
            listener.nodes(frozenset(self._nodes.values()))


class MemoryDiscovery:
    """Watches a ``MemoryBackend``."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self._listener: Listener | None = None

    def open(self, listener: Listener) -> None:
        """Begin to watch."""
        self._listener = listener
        self._backend.watch(listener)

    def close(self) -> None:
        """Stop watching."""
        if self._listener is not None:
            self._backend.unwatch(self._listener)
            self._listener = None


class MemoryAnnouncer:
    """Registers in a ``MemoryBackend``."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self._name: str | None = None

    def announce(self, node: NodeRecord) -> None:
        """Publish or replace the record."""
        if self._name is None and self._backend.has(node.name):
            raise DiscoveryError(f"node {node.name} is already announced")
        self._name = node.name
        self._backend.put(node)

    def withdraw(self) -> None:
        """Take the record back."""
        if self._name is not None:
            self._backend.remove(self._name)
            self._name = None
