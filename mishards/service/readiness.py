"""Can this router serve searches now, and if not, why not. Pure, but for the objects it looks at."""

from __future__ import annotations

from mishards.catalog.cache import SnapshotCache
from mishards.cluster.fleet import Fleet
from mishards.discovery.watch import NodeWatch


class Readiness:
    """Looks at what a search needs: a snapshot of the catalog, and a node that can search."""

    def __init__(self, cache: SnapshotCache, fleet: Fleet, watch: NodeWatch) -> None:
        self._cache = cache
        self._fleet = fleet
        self._watch = watch
        self.draining = False

    def problems(self) -> list[str]:
        """Why searches cannot be served; empty when they can."""
        found = []
        if self.draining:
            found.append("this router is stopping")
        if self._cache.current is None:
            error = self._cache.error
            found.append(f"no snapshot of the catalog yet{f': {error}' if error else ''}")
        if not self._fleet.can_search():
            found.append(f"no node that can search has answered; {self._nodes()}")
        return found

    def warnings(self) -> list[str]:
        """What is wrong although searches are served."""
        found = []
        if self._cache.error is not None:
            found.append(f"catalog is away, the snapshot is {self._cache.age_s:.1f} s old: {self._cache.error}")
        if self._watch.error is not None:
            found.append(f"discovery is lost: {self._watch.error}")
        if self._fleet.writer is None:
            standbys = ", ".join(node.name for node in self._fleet.writers())
            found.append(f"no writable node leads; {standbys} stand by" if standbys else "no writable node is known")
        return found

    def _nodes(self) -> str:
        nodes = [f"{node.name} is {node.health.state.value} {node.health.reason}".rstrip() for node in self._fleet]
        return "; ".join(nodes) or f"discovery knows none{f' ({self._watch.error})' if self._watch.error else ''}"
