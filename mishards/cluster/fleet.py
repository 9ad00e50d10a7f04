"""All nodes of the cluster, following discovery; and the loop that probes them.

Belongs to the event loop that ``start`` ran on; discovery's threads only wake it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from mishards.cluster.health import HealthOptions, HealthState
from mishards.cluster.leader import leader_among
from mishards.cluster.membership import Membership, membership_of, without_drained
from mishards.cluster.node import Called, Node
from mishards.cluster.tasks import end
from mishards.deadline import Deadline
from mishards.discovery.watch import NodeWatch
from mishards.transport.api import Transport

log = logging.getLogger(__name__)

_RIVALS_S: Final = 1.0
_IDLE_S: Final = 0.5
"""The longest the probe loop sleeps: it also carries out expired grace periods."""


class Fleet:
    """The nodes by name, and the membership they make up."""

    def __init__(
        self,
        watch: NodeWatch,
        transport: Transport,
        options: HealthOptions,
        on_call: Called = lambda *_: None,
        drained: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        """``on_call`` is told of every call that a node has answered, ``drained`` asked again and again who is."""
        self._watch = watch
        self._transport = transport
        self._options = options
        self._on_call = on_call
        self._nodes: dict[str, Node] = {}
        self._membership = Membership()
        self._told_drained = drained
        self._drained: frozenset[str] = frozenset()
        self.news = 0
        """Counts what changed: members and their health."""
        self.looked_at = time.monotonic()
        """When the probe loop last looked whom to probe."""
        self._asked_at = 0.0
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open discovery and begin to probe."""
        self._loop = asyncio.get_running_loop()
        self._watch.on_change(self._woken)
        await self._loop.run_in_executor(None, self._watch.open)
        self._follow()
        self._task = self._loop.create_task(self._run(), name="fleet-probe")

    def reconfigure(self, options: HealthOptions) -> None:
        """Judge nodes by other options from now on; when each is asked next stays as it was decided."""
        self._options = options
        for node in self:
            node.reconfigure(options)

    async def close(self) -> None:
        """Stop probing, close discovery and every channel."""
        if self._task is not None:
            await end([self._task])
        await asyncio.get_running_loop().run_in_executor(None, self._watch.close)
        for node in list(self._nodes.values()):
            await node.close()

    @property
    def membership(self) -> Membership:
        """Who does what now."""
        self.follow()
        return self._membership

    @property
    def drained(self) -> frozenset[str]:
        """Nodes to which nothing is sent, because an operator said so; draining until they are taken back."""
        self.follow()
        return self._drained

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, name: str) -> Node | None:
        """The node of that name."""
        return self._nodes.get(name)

    @property
    def writer(self) -> Node | None:
        """The node that takes writes; None where there is none, or all that there are stand by."""
        name = leader_among([(node.name, node.claim) for node in self.writers()])
        return None if name is None else self._nodes.get(name)

    def writers(self) -> list[Node]:
        """The writable nodes, leading or standing by."""
        return [self._nodes[record.name] for record in self.membership.writers if record.name in self._nodes]

    def seek_leader(self, *, among_dead: bool = True) -> None:
        """Ask every writable node that may stand by whether it leads, unless it is being asked; tells by news."""
        for node in self.writers():
            if node.elects and not node.probing and (among_dead or node.health.state is not HealthState.DOWN):
                node.probe()

    def living(self) -> list[Node]:
        """Every node that may be asked to search when those that hold a segment cannot: readers, then writers."""
        membership = self.membership
        records = dict.fromkeys((*membership.searchers, *membership.writers))
        return [self._nodes[record.name] for record in records if record.name in self._nodes]

    def can_search(self) -> bool:
        """Has a node that may be asked to search answered a probe, and is still up?"""
        return any(node.present and node.health.state is HealthState.UP for node in self.living())

    async def wait_for_news(self, deadline: Deadline) -> None:
        """Return when a node joined, left, or changed its health, or at the deadline."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), deadline.timeout())

    def _woken(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def _tell(self) -> None:
        self.news += 1
        self._news.set()
        self._news = asyncio.Event()

    def _follow(self) -> None:
        self._drained = self._told_drained()
        membership = membership_of(without_drained(self._watch.members(), self._drained))
        for record in membership.known:
            present = record.name not in membership.absent
            node = self._nodes.get(record.name)
            if node is None:
                node = Node(record, self._transport, self._options, self._tell, self._on_call)
                self._nodes[record.name] = node
            node.update(record, present=present)
        for name in set(self._nodes) - {record.name for record in membership.known}:
            node = self._nodes.pop(name)
            if self._loop is not None:
                self._loop.create_task(node.close(), name=f"close-{name}")
        self._membership = membership
        self._wake.set()
        self._tell()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self.follow()
            self._ask_rivals()
            waiting = [node for node in self if node.present and not node.probing]
            now = self.looked_at = time.monotonic()
            for node in waiting:
                if node.health.probe_at <= now:
                    node.probe()
            soonest = min((node.health.probe_at for node in waiting if node.health.probe_at > now), default=math.inf)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, min(_IDLE_S, soonest - now)))

    def _ask_rivals(self) -> None:
        """Where one of several can lead, look again and again which: who led may have been stopped, and say nothing."""
        now = time.monotonic()
        if len(self.membership.writers) > 1 and now >= self._asked_at + _RIVALS_S:
            self._asked_at = now
            self.seek_leader(among_dead=False)

    def follow(self) -> None:
        """Take notice of what has changed among the members."""
        if self._watch.members().version != self._membership.version or self._told_drained() != self._drained:
            self._follow()
