"""What a search of a collection would do, without doing it; and what this router sees. As plain JSON values."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mishards.catalog.cache import SnapshotCache
from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import NoSearchNode
from mishards.query.choice import Choice
from mishards.query.route import Route, Routes
from mishards.query.snapshots import Snapshots


class Explainer:
    """Explains plans. Belongs to the event loop."""

    def __init__(
        self,
        fleet: Fleet,
        choice: Choice,
        cache: SnapshotCache,
        snapshots: Snapshots,
        routes: Routes,
    ) -> None:
        self._fleet = fleet
        self._choice = choice
        self._cache = cache
        self._snapshots = snapshots
        self._routes = routes

    async def explain(self, collection: str, tags: Sequence[str], deadline: Deadline) -> dict[str, object]:
        """The segments a search would read: who holds each, in order of preference, who takes over, who is asked now.

        Raises:
            CollectionNotFound: there is no such collection.
            PartitionError: the tags select nothing.
            CatalogUnavailable: no snapshot has ever been read.
        """
        snapshot = await self._snapshots.fresh(deadline)
        found = snapshot.collection(collection)
        route = self._routes.route(snapshot, found, tags, self._choice.owners())
        asked = self._asked(route)
        replicas = route.replicas
        partitions = {partition.table_id: partition.tag for partition in found.partitions}
        return {
            "collection": collection,
            "snapshot_version": snapshot.version,
            "replicas": replicas,
            "segments": [
                {
                    "segment_id": segment.segment_id,
                    "partition": partitions[segment.table_id],
                    "rows": segment.rows,
                    "file_id": segment.file.id,
                    "indexed": segment.is_indexed,
                    "nodes": list(route.placement[segment.segment_id][:replicas]),
                    "spares": list(route.placement[segment.segment_id][replicas:]),
                    "asked": asked.get(segment.segment_id),
                }
                for segment in route.segments
            ],
        }

    def _asked(self, route: Route) -> dict[str, str]:
        try:
            shares = self._choice.first(route)
        except NoSearchNode:
            return {}
        return {segment.segment_id: share.node.name for share in shares for segment in share.segments}

    def status(self) -> dict[str, object]:
        """The nodes, their roles and health, and the age of the snapshot."""
        membership, writer = self._fleet.membership, self._fleet.writer
        current, error = self._cache.current, self._cache.error
        return {
            "membership_version": membership.version,
            "writer": None if writer is None else writer.name,
            "standbys": [node.name for node in self._fleet.writers() if node is not writer],
            "searchers": [node.name for node in membership.searchers],
            "nodes": [_node(node) for node in self._fleet],
            "catalog": {
                "version": None if current is None else current.version,
                "age_ms": None if current is None else round((time.monotonic() - current.taken_at) * 1000),
                "collections": 0 if current is None else len(current.collections),
                "error": None if error is None else str(error),
            },
        }


def _node(node: Node) -> dict[str, object]:
    record = node.record
    return {
        "name": record.name,
        "role": record.role.value,
        "address": record.address,
        "state": record.state.value if node.present else "absent",
        "health": node.health.state.value,
        "reason": node.health.reason,
        "version": node.version,
        "weight": record.weight,
        "zone": record.zone,
        "capabilities": sorted(node.capabilities),
        "outstanding": node.outstanding,
        "latency_ms": round(node.latency.average_s * 1000, 3),
    }
