"""A node's part in its cluster: it joins, is ready, drains, and says so through discovery.

A read-only node that announces itself begins as joining. Routers load on it what it will hold and say so; then it is
ready. Where no router does anything for it, it does not wait for long. When it is to stop it is draining first: routers
send nothing new, what is under way is finished, and only then it is withdrawn.

Belongs to the event loop, but for ``Activity``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mishards.discovery.api import Announcer, NodeRecord, NodeState
from mishards.errors import DiscoveryError
from mishards.logs.calls import Served
from mishards.options import about

log = logging.getLogger(__name__)

_POLL_S = 0.05
_RETRY_S = 1.0
_QUIET_S = 0.5
_NOTICE_S = 2.0
"""Within which discoveries report what was announced: longer is not waited for routers to turn away."""
_WILDCARDS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class AnnounceOptions:
    """What a node says of itself in discovery."""

    address: str = field(
        default="",
        metadata=about("HOST:PORT that routers call; empty is the bound address, or the host's name for all of them"),
    )
    weight: float = field(default=1.0, metadata=about("share of segments relative to other nodes", minimum=0.001))
    zone: str = field(default="", metadata=about("where this node fails together with others"))
    join_quiet_s: float = field(
        default=10.0,
        metadata=about("a joining node on which routers load nothing for this long is ready", minimum=0),
    )
    join_timeout_s: float = field(default=600.0, metadata=about("longest that a node is joining", minimum=0))

    def reachable(self, bound: str) -> str:
        """The address to announce for the one that the server is bound to."""
        host, _, port = bound.rpartition(":")
        return self.address or (f"{socket.gethostname()}:{port}" if host in _WILDCARDS else bound)


class Activity:
    """What a node is being asked for, as far as joining and draining go. Safe from any thread."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        """``is_busy``: is a call under way that is not about the node itself?"""
        self._is_busy = is_busy
        self._last = time.monotonic()
        self.warmed = threading.Event()
        """Set once a router has loaded what this node will hold."""

    def ended(self, served: Served) -> None:
        """Take note of a call that ended."""
        if served.call.method != "Cmd":
            self._last = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last call ended; 0 while one is under way."""
        return 0.0 if self._is_busy() else time.monotonic() - self._last


class Participation:
    """Announces one node from its start to its end. Without an announcer it is ready, and nobody is told."""

    def __init__(self, announcer: Announcer | None, options: AnnounceOptions, activity: Activity) -> None:
        self._announcer = announcer
        self._options = options
        self._activity = activity
        self._record: NodeRecord | None = None

    @property
    def is_joining(self) -> bool:
        """Does it warm up?"""
        return self._record is not None and self._record.state is NodeState.JOINING

    async def join(self, record: NodeRecord) -> None:
        """Announce the node for the first time, in the state of the record.

        Raises:
            DiscoveryError: that cannot be done.
        """
        if self._announcer is not None:
            await asyncio.to_thread(self._announcer.announce, record)
            self._record = record

    async def take_part(self, stopping: asyncio.Event) -> None:
        """Get ready, stay so until ``stopping``, and return when searches have ceased to come."""
        if self.is_joining:
            log.info("ready after joining for %.1f s: %s", *await self._warm_up(stopping))
            await self._become_ready(stopping)
        await stopping.wait()
        log.info("stopping")
        if self._record is not None:
            await self._drain()

    async def leave(self) -> None:
        """Take the record back. May be repeated."""
        if self._announcer is not None:
            await asyncio.to_thread(self._announcer.withdraw)

    async def _warm_up(self, stopping: asyncio.Event) -> tuple[float, str]:
        """Wait until it is warm; returns how long that took, in seconds, and why it has ended."""
        began, options = time.monotonic(), self._options
        while True:
            passed = time.monotonic() - began
            if self._activity.warmed.is_set():
                return passed, "a router has loaded what it will hold"
            if stopping.is_set():
                return passed, "it stops"
            if min(self._activity.idle_s(), passed) >= options.join_quiet_s:
                return passed, f"no router has loaded anything for {options.join_quiet_s:g} s"
            if passed >= options.join_timeout_s:
                return passed, f"warming up takes longer than {options.join_timeout_s:g} s"
            await _pause(stopping, _POLL_S)

    async def _become_ready(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set() and not await self._become(NodeState.READY):
            await _pause(stopping, _RETRY_S)

    async def _drain(self) -> None:
        began = time.monotonic()
        if not await self._become(NodeState.DRAINING):
            return
        while (passed := time.monotonic() - began) < _NOTICE_S and min(self._activity.idle_s(), passed) < _QUIET_S:
            await _pause(asyncio.Event(), _POLL_S)

    async def _become(self, state: NodeState) -> bool:
        """Announce another state; False when that could not be done now."""
        if self._announcer is None or self._record is None:
            return True
        record = replace(self._record, state=state)
        try:
            await asyncio.to_thread(self._announcer.announce, record)
        except DiscoveryError as error:
            log.warning("cannot say that this node is %s: %s", state.value, error)
            return False
        self._record = record
        return True


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
