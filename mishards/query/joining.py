"""Warming joining nodes up: what a node will hold is loaded there before searches go there.

Every router does this by itself, with its own placement; a node loads nothing twice. The node is told when a router has
nothing left to load, announces that it is ready, and only then takes its place. A node that joins while no other can
search is told at once: slow answers are better than none.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence

from mishards.catalog.snapshot import Collection, Segment, Snapshot
from mishards.cluster.fleet import Fleet
from mishards.cluster.membership import Membership
from mishards.cluster.node import Node
from mishards.cluster.tasks import end
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.errors import MishardsError
from mishards.query.loading import loading_search
from mishards.query.route import Routes
from mishards.query.snapshots import Snapshots
from mishards.routing.api import Owner
from mishards.wire.extensions import JOINING, WARMED_COMMAND
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import status_of
from mishards.wire.search import search_in_files

log = logging.getLogger(__name__)

_POLL_S = 0.5
_LOAD_S = 600.0
"""How long a node may take to load the files of one call."""
_FILES_A_CALL = 8
_ANSWER_S = 5.0

Share = list[tuple[Collection, Segment]]


class Joiners:
    """Loads on joining nodes what they will hold. Make it, ``start`` it, ``close`` it."""

    def __init__(self, fleet: Fleet, snapshots: Snapshots, routes: Routes) -> None:
        """``routes`` must be no one else's: it keeps the placement of one set of nodes."""
        self._fleet = fleet
        self._snapshots = snapshots
        self._routes = routes
        self._task: asyncio.Task[None] | None = None
        self._warming: dict[NodeRecord, asyncio.Task[None]] = {}
        self.looked_at = time.monotonic()
        """When the loop last looked for joining nodes."""

    def start(self) -> None:
        """Begin to look for joining nodes."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="joiners")

    async def close(self) -> None:
        """Stop loading."""
        if self._task is not None:
            await end([self._task])
        await end(self._warming.values())

    async def _run(self) -> None:
        while True:
            self.looked_at = time.monotonic()
            joining = {record for record in self._fleet.membership.joining if JOINING in record.capabilities}
            for record in self._warming.keys() - joining:
                self._warming.pop(record).cancel()
            for record in joining - self._warming.keys():
                self._warming[record] = asyncio.get_running_loop().create_task(
                    self._warm(record), name=f"warm-{record.name}"
                )
            await self._fleet.wait_for_news(Deadline.after(_POLL_S))

    async def _warm(self, record: NodeRecord) -> None:
        """Load and tell, over and over until it is done; ends with the node's joining."""
        while True:
            try:
                node = self._fleet.get(record.name)
                if node is not None:
                    loaded = await self._load(node) if has_searcher(self._fleet.membership) else 0
                    await self._tell(node)
                    log.info("warmed up name=%s segments=%d", record.name, loaded)
                    return
            except MishardsError as error:
                log.info("warming up name=%s failed, trying on: %s", record.name, error)
            except Exception:
                log.exception("warming up name=%s failed in a way that is a bug, trying on", record.name)
            await asyncio.sleep(_POLL_S)

    async def _load(self, node: Node) -> int:
        """Load until no more comes up than is loaded in the meantime; returns how many segments.

        What comes up ever anew, while rows are flushed without a pause, is loaded by searches, as it is by every node.
        """
        loaded: set[int] = set()
        before = math.inf
        while True:
            snapshot = await self._snapshots.fresh(Deadline.after(_ANSWER_S))
            missing = [held for held in self._share(node.name, snapshot) if held[1].file.id not in loaded]
            for collection, files in _batches(missing):
                request = search_in_files(files, loading_search(collection))
                reply = await node.call("SearchInFiles", request, deadline=Deadline.after(_LOAD_S))
                code, reason = status_of("SearchInFiles", reply)
                if code:  # a file that was superseded meanwhile, or is damaged: a search would say the same
                    log.info("not loaded name=%s files=%s: %s", node.name, files, reason)
                loaded.update(files)
            if not 0 < len(missing) < before:
                return len(loaded)
            before = len(missing)

    async def _tell(self, node: Node) -> None:
        request = pb.Command(cmd=WARMED_COMMAND).SerializeToString()
        await node.call("Cmd", request, deadline=Deadline.after(_ANSWER_S))

    def _share(self, name: str, snapshot: Snapshot) -> Share:
        """What the node will hold: first what only it alone would, beside those that are ready, then its lasting share.

        Those that join together become ready one after the other, so for a while each has more than it will keep; what
        it will keep is loaded last, because what was used longest ago goes first when memory runs out.
        """
        membership = self._fleet.membership
        ready = membership.owners()
        beside = [Owner(record.name, record.weight, record.zone) for record in membership.joining]
        alone = self._held(name, snapshot, (*ready, *(owner for owner in beside if owner.name == name)))
        lasting = self._held(name, snapshot, (*ready, *beside))
        kept = {segment.file.id for _, segment in lasting}
        return [held for held in alone if held[1].file.id not in kept] + lasting

    def _held(self, name: str, snapshot: Snapshot, owners: Iterable[Owner]) -> Share:
        distinct = {owner.name: owner for owner in owners}
        together = tuple(distinct[name] for name in sorted(distinct))
        return [
            (collection, segment)
            for collection in snapshot.collections.values()
            for group in self._routes.route(snapshot, collection, (), together).groups
            if name in group.owners
            for segment in group.segments
        ]


def has_searcher(membership: Membership) -> bool:
    """Is a read-only node there that searches can go to meanwhile? Pure."""
    return any(node.role is NodeRole.READONLY and node.name not in membership.absent for node in membership.searchers)


def _batches(share: Share) -> Iterable[tuple[Collection, Sequence[int]]]:
    """The files by collection, a few at a time, in their order."""
    batch: list[int] = []
    before: Collection | None = None
    for collection, segment in share:
        if before is not None and (collection is not before or len(batch) == _FILES_A_CALL):
            yield before, batch
            batch = []
        before = collection
        batch.append(segment.file.id)
    if before is not None:
        yield before, batch
