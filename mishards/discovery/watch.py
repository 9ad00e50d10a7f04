"""The last good set of nodes.

Invariants: losing the backend never empties the set; a node that vanishes without having said that it is draining
stays a member, marked absent, for a grace period, so that a restart moves no segment; a ``Members`` is never changed,
only replaced by one of a higher version, and a version is only spent on a change.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mishards.discovery.api import Discovery, NodeRecord, NodeState
from mishards.errors import DiscoveryError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Members:
    """Who is a member now.

    ``absent`` names those that discovery no longer reports as ready, within their grace period; ``joining`` those that
    warm up, among them absent ones that have come back.
    """

    version: int = 0
    nodes: tuple[NodeRecord, ...] = ()
    absent: frozenset[str] = frozenset()
    joining: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Retained:
    """What was reported last and, of those that went without a word, the last ready record and the time; pure."""

    reported: Mapping[str, NodeRecord] = field(default_factory=dict)
    kept: Mapping[str, NodeRecord] = field(default_factory=dict)
    gone_since: Mapping[str, float] = field(default_factory=dict)

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        """The members by name."""
        return {**self.reported, **self.kept}

    @property
    def joining(self) -> frozenset[str]:
        """Who warms up."""
        return frozenset(node.name for node in self.reported.values() if node.state is NodeState.JOINING)

    def report(self, reported: frozenset[NodeRecord], now: float) -> Retained:
        """The state after discovery reported a whole set at ``now``."""
        nodes = {node.name: node for node in sorted(reported, key=lambda node: (node.name, node.address))}
        kept, gone = {}, {}
        for name, node in self.nodes.items():
            back = nodes.get(name)
            # A node that joins again under its old name keeps its place while it warms up, where it is now.
            if node.state is NodeState.READY and (back is None or back.state is NodeState.JOINING):
                kept[name] = node if back is None else replace(back, state=NodeState.READY)
                gone[name] = self.gone_since.get(name, now)
        return Retained(nodes, kept, gone)

    def expire(self, now: float, grace_s: float) -> Retained:
        """The state without those whose grace has passed."""
        stale = {name for name, since in self.gone_since.items() if now >= since + grace_s}
        if not stale:
            return self
        return Retained(
            self.reported,
            {name: node for name, node in self.kept.items() if name not in stale},
            {name: since for name, since in self.gone_since.items() if name not in stale},
        )

    def next_expiry(self, grace_s: float) -> float:
        """When ``expire`` will next change something; infinite for never."""
        return min((since + grace_s for since in self.gone_since.values()), default=math.inf)


class NodeWatch:
    """Listens to a discovery and holds what it said. Safe to use from any thread."""

    def __init__(self, discovery: Discovery, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._discovery = discovery
        self._grace_s = grace_s
        self._clock = clock
        self._lock = threading.Lock()
        self._retained = Retained()
        self._members = Members()
        self._expiry = math.inf
        self._error: DiscoveryError | None = None
        self._heard_at: float | None = None
        self._listeners: list[Callable[[], None]] = []

    def open(self) -> None:
        """Begin to watch."""
        self._discovery.open(self)

    def close(self) -> None:
        """Stop watching; what was known stays."""
        self._discovery.close()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, on any thread, after each change of the members; it must not block."""
        self._listeners.append(callback)

    @property
    def error(self) -> DiscoveryError | None:
        """Why the backend is lost; None while it is there."""
        return self._error

    @property
    def age_s(self) -> float:
        """Seconds since a set was last reported; infinite before the first."""
        return math.inf if self._heard_at is None else self._clock() - self._heard_at

    def members(self) -> Members:
        """Who is a member now."""
        if self._clock() >= self._expiry:
            with self._lock:
                self._publish(self._retained.expire(self._clock(), self._grace_s))
        return self._members

    def nodes(self, nodes: frozenset[NodeRecord]) -> None:
        """Take a whole set from the discovery."""
        now = self._clock()
        with self._lock:
            if self._error is not None:
                log.info("discovery is back")
            self._error, self._heard_at = None, now
            changed = self._publish(self._retained.expire(now, self._grace_s).report(nodes, now))
        if changed:
            for callback in self._listeners:
                callback()

    def lost(self, error: DiscoveryError) -> None:
        """Note that the backend is away; the members stay."""
        if self._error is None:
            log.warning("discovery is lost, going on with the last known nodes: %s", error)
        self._error = error

    def _publish(self, retained: Retained) -> bool:
        before = self._members
        self._retained = retained
        self._expiry = retained.next_expiry(self._grace_s)
        members = retained.nodes
        nodes = tuple(members[name] for name in sorted(members))
        now = Members(before.version, nodes, frozenset(retained.gone_since), retained.joining)
        if now == before:
            return False
        self._members = replace(now, version=before.version + 1)
        log.info("nodes version=%d members=%s", self._members.version, _described(self._members))
        return True


def _described(members: Members) -> str:
    return ",".join(f"{node.name}({node.role.value},{_standing(node, members)})" for node in members.nodes)


def _standing(node: NodeRecord, members: Members) -> str:
    if node.name in members.joining:
        return NodeState.JOINING.value
    return "absent" if node.name in members.absent else node.state.value
