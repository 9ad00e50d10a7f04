"""Warms up nodes for segments that they shall hold from now on, in the background, before they get traffic for them.

So a replica number that rises, a node that joins, and a node that comes back cost no search the time of a load; and
when a node is lost for longer than a moment, the next candidates load its segments, so that there are as many replicas
again. A search for one vector is what loads a segment; few are under way at a time.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node
from mishards.cluster.tasks import end
from mishards.deadline import Deadline
from mishards.errors import MishardsError
from mishards.query.holders import Holders
from mishards.query.loading import load
from mishards.query.options import RoutingOptions
from mishards.query.route import Routes
from mishards.query.snapshots import Snapshots

log = logging.getLogger(__name__)

_TICK_S = 0.2
_AT_ONCE = 16
"""Segments that one call loads."""
_LOAD_S = 600.0

Home = tuple[Collection, Segment]


class Warming:
    """Owns the background task; ``start`` begins it, ``close`` ends it."""

    def __init__(
        self, fleet: Fleet, snapshots: Snapshots, routes: Routes, holders: Holders, options: RoutingOptions
    ) -> None:
        self._fleet = fleet
        self._snapshots = snapshots
        self._routes = routes
        self._holders = holders
        self._options = options
        self._down_since: dict[str, float] = {}
        self._lost: frozenset[str] = frozenset()
        self._settled: object = None
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless the options say that nodes are not warmed up."""
        if self._options.warm_up:
            self._task = asyncio.create_task(self._run(), name="warming")

    async def close(self) -> None:
        """End at once. May be repeated."""
        if self._task is not None:
            await end([self._task])
        await end(self._loads.values())

    async def _run(self) -> None:
        while True:
            try:
                self._step()
            except Exception:  # the top of a background loop: a bug must not leave nodes cold for ever
                log.exception("warming up failed in a way that is a bug")
            await self._fleet.wait_for_news(Deadline.after(_TICK_S))

    def _step(self) -> None:
        snapshot = self._snapshots.current
        if snapshot is None:
            return
        lost = self._long_gone()
        for name in lost - self._lost:
            log.warning("node %s is lost; others load what it held", name)
            self._holders.lost(name)
        self._lost = lost
        state = snapshot.version, self._fleet.membership.owners(), lost
        if state == self._settled:
            return
        homes, targets = self._targets(snapshot)
        cold = self._holders.settle(targets)
        busy = False
        for name, segment_ids in cold.items():
            node = self._fleet.get(name)
            if node is not None and node.usable and name not in self._loads:
                load_all = self._load_all(node, [homes[segment_id] for segment_id in segment_ids])
                task = self._loads[name] = asyncio.create_task(load_all, name=f"warming-{name}")
                task.add_done_callback(lambda _, name=name: self._loads.pop(name, None))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            busy = True
        self._settled = None if busy else state  # looks again as long as somebody is cold

    def _long_gone(self) -> frozenset[str]:
        """Nodes that have not been usable for as long as a lost one."""
        now = time.monotonic()
        gone = {node.name for node in self._fleet if not node.usable}
        self._down_since = {name: self._down_since.get(name, now) for name in gone}
        patience_s = self._options.restore_after_ms / 1000
        return frozenset(name for name, since in self._down_since.items() if now - since >= patience_s)

    def _targets(self, snapshot: Snapshot) -> tuple[dict[str, Home], dict[str, tuple[str, ...]]]:
        """Each segment, and who shall hold it now: its owners, and in the place of lost ones who comes next."""
        owners = self._fleet.membership.owners()
        homes: dict[str, Home] = {}
        targets: dict[str, tuple[str, ...]] = {}
        for collection in snapshot.collections.values():
            placement, replicas = self._routes.placement(collection, owners), self._routes.replicas_of(collection)
            for segment in collection.segments:
                names = [name for name in placement[segment.segment_id] if name not in self._lost]
                homes[segment.segment_id] = collection, segment
                targets[segment.segment_id] = tuple(names[:replicas])
        return homes, targets

    async def _load_all(self, node: Node, homes: Sequence[Home]) -> None:
        by_collection: dict[str, list[Home]] = {}
        for home in homes:
            by_collection.setdefault(home[0].name, []).append(home)
        try:
            for found in by_collection.values():
                for start in range(0, len(found), _AT_ONCE):
                    segments = [segment for _, segment in found[start : start + _AT_ONCE]]
                    await load(node, found[0][0], segments, deadline=Deadline.after(_LOAD_S))
                    self._holders.warmed(node.name, [segment.segment_id for segment in segments])
        except MishardsError as error:
            log.info("node %s is not warm yet: %s", node.name, error)
        else:
            log.info("warmed up node=%s segments=%d", node.name, len(homes))
