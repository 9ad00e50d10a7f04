"""What discovery plugins implement, and the record of a node that they carry.

A discovery backend answers one question: which nodes exist. Whether a node is well is not its business (that is
health), nor what it should hold (that is routing).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mishards.errors import DiscoveryError


class NodeRole(str, enum.Enum):
    """What a node is for."""

    WRITABLE = "writable"
    READONLY = "readonly"


class NodeState(str, enum.Enum):
    """Where a node stands in its life."""

    JOINING = "joining"
    """It warms up, or stands by for a leader; it gets no searches, but routers load on it what it will hold."""
    READY = "ready"
    DRAINING = "draining"
    """It finishes what it has; it gets no new calls."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as it announced itself.

    ``name`` is its identity over restarts and changes of address; ``weight`` is its share of segments relative to the
    others; ``zone`` is where it fails together with others; ``capabilities`` are extensions it says it has.
    """

    name: str
    role: NodeRole
    address: str
    weight: float = 1.0
    zone: str = ""
    state: NodeState = NodeState.READY
    capabilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.name or not self.address:
            raise ValueError("a node needs a name and an address")
        if not 0 < self.weight < 1000:
            raise ValueError(f"weight of node {self.name} is {self.weight}, expected more than 0 and less than 1000")


class Listener(Protocol):
    """Where a discovery reports; may be called from any thread, never from two at once."""

    def nodes(self, nodes: frozenset[NodeRecord]) -> None:
        """All nodes that exist now."""
        ...

    def lost(self, error: DiscoveryError) -> None:
        """The backend cannot be reached; what it said last stands."""
        ...


class Discovery(Protocol):
    """Watches which nodes exist.

    1. The listener gets the whole set, never a difference.
    2. ``open`` returns once the listener was called for the first time, or after 5 s; a backend that is away is
       reported as lost, not raised.
    3. The same set may be reported again; sets in between may be skipped; what holds still is reported within 2 s.
    4. The listener is never called by two threads at once.
    5. Losing the backend is ``lost``, never an empty set; coming back is a set.
    6. An entry that is no node is logged and left out; the rest stand.
    7. After ``close`` has returned the listener is not called. ``close`` returns within 2 s, may be repeated, and may
       come before ``open``.
    """

    def open(self, listener: Listener) -> None:
        """Begin to watch."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


class Announcer(Protocol):
    """Tells the others that a node exists, for as long as its process lives.

    1. After ``announce`` returns, discoveries report the record within 2 s.
    2. ``announce`` may be repeated with a changed record of the same name; the old one is replaced in one step.
    3. A process that dies without ``withdraw`` is no longer reported within the backend's session time.
    4. A name that another living process holds is refused with a DiscoveryError.
    5. After ``withdraw`` the node is no longer reported. ``withdraw`` may be repeated and may come first.
    """

    def announce(self, node: NodeRecord) -> None:
        """Publish the record, or replace what was published."""
        ...

    def withdraw(self) -> None:
        """Take the record back."""
        ...


class DiscoveryPlugin(Protocol):
    """The object that an entry point of the group ``mishards.discovery`` names."""

    def discovery(self, uri: str) -> Discovery:
        """A discovery that is not open yet. Raises PluginError when the URI cannot be used."""
        ...


@runtime_checkable
class AnnouncerPlugin(Protocol):
    """What such an object offers besides where nodes can register themselves."""

    def announcer(self, uri: str) -> Announcer:
        """An announcer that has said nothing yet. Raises PluginError when the URI cannot be used."""
        ...
