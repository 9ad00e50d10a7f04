"""What a router's metrics say about its state: read from its parts when Prometheus asks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mishards import __version__
from mishards.catalog.cache import SnapshotCache
from mishards.cluster.fleet import Fleet
from mishards.cluster.health import HealthState
from mishards.cluster.node import Node
from mishards.discovery.watch import NodeWatch
from mishards.metrics import router as declared
from mishards.metrics.declare import Metric
from mishards.metrics.instruments import family, single
from mishards.metrics.placement import Share, Spreads, deficit, imbalance
from mishards.service.admission import Admission, CallClass
from mishards.service.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Parts:
    """Whom to ask."""

    fleet: Fleet
    cache: SnapshotCache
    watch: NodeWatch
    admission: Admission
    readiness: Readiness
    spreads: Spreads
    log_skipped: Callable[[], int]
    dropped_spans: Callable[[], int]
    rounds: Mapping[str, Callable[[], float]]
    """When each loop of the event loop last came round, in monotonic seconds."""


class RouterState(Collector):
    """Reads the parts of a router; on the event loop to which they belong."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def prepare(self) -> None:
        """Do on another thread what takes long where the catalog is large and has changed."""
        snapshot, owners = self._parts.cache.current, self._parts.fleet.membership.owners()
        if snapshot is not None:
            await asyncio.to_thread(self._parts.spreads.now, snapshot, owners)

    def collect(self) -> Iterator[Family]:
        """What Prometheus is shown."""
        yield from self._calls()
        yield from self._nodes()
        yield from self._catalog()
        yield from self._loops()
        yield single(declared.READY, not self._parts.readiness.problems())
        yield single(declared.LOG_SKIPPED, self._parts.log_skipped())
        yield single(declared.DROPPED_SPANS, self._parts.dropped_spans())
        yield family(declared.BUILD, [((__version__,), 1)])

    def _calls(self) -> Iterator[Family]:
        admission = self._parts.admission
        yield family(declared.IN_PROGRESS, [((kind.value,), admission.under_way[kind]) for kind in CallClass])
        yield family(declared.REFUSED, [((kind.value,), admission.refused[kind]) for kind in CallClass])

    def _nodes(self) -> Iterator[Family]:
        nodes = list(self._parts.fleet)

        def each(metric: Metric, value: Callable[[Node], float]) -> Family:
            return family(metric, [((node.name,), value(node)) for node in nodes])

        yield family(declared.NODE_UP, [((node.name, node.record.role.value), _is_up(node)) for node in nodes])
        yield family(
            declared.NODE_STATE,
            [((node.name, state.value), node.health.state is state) for node in nodes for state in HealthState],
        )
        yield each(declared.NODE_TRIPS, lambda node: node.trips)
        yield each(declared.NODE_OUTSTANDING, lambda node: node.outstanding)
        errors = [((node.name, kind), number) for node in nodes for kind, number in list(node.errors.items())]
        yield family(declared.NODE_ERRORS, errors)
        roles = Counter(node.record.role.value for node in nodes)
        yield family(declared.MEMBERS, [((role,), number) for role, number in roles.items()])

    def _catalog(self) -> Iterator[Family]:
        cache, fleet = self._parts.cache, self._parts.fleet
        yield family(declared.REFRESHES, [(("ok",), cache.reads - cache.failures), (("failed",), cache.failures)])
        yield single(declared.REFRESH_SECONDS, cache.read_s)
        yield single(declared.SNAPSHOT_AGE, cache.age_s)
        snapshot = cache.current
        if snapshot is None:
            return
        yield single(declared.SNAPSHOT_VERSION, snapshot.version)
        owners = fleet.membership.owners()
        spread = self._parts.spreads.now(snapshot, owners)
        names = [owner.name for owner in owners]
        shares = [((name,), spread.shares.get(name, Share())) for name in names]
        yield family(declared.NODE_SEGMENTS, [(name, share.segments) for name, share in shares])
        yield family(declared.NODE_ROWS, [(name, share.rows) for name, share in shares])
        yield family(declared.NODE_BYTES, [(name, share.nbytes) for name, share in shares])
        yield single(declared.IMBALANCE, imbalance(spread, names))
        yield single(declared.DEFICIT, deficit(spread, self._in_service))
        yield single(declared.COLLECTIONS, len(snapshot.collections))
        yield single(declared.SEGMENTS, spread.segments)
        yield single(declared.ROWS, spread.rows)

    def _in_service(self, name: str) -> bool:
        node = self._parts.fleet.get(name)
        return node is not None and node.usable

    def _loops(self) -> Iterator[Family]:
        cache, now = self._parts.cache, time.monotonic()
        yield single(declared.DISCOVERY_UP, self._parts.watch.error is None)
        ages = [((name,), now - came_round()) for name, came_round in self._parts.rounds.items()]
        yield family(declared.LOOP_AGE, [*ages, (("catalog-refresh",), now - cache.read_at)])
        yield family(declared.LOOP_FAILURES, [(("catalog-refresh",), cache.failures)])


def _is_up(node: Node) -> bool:
    return node.present and node.health.state is HealthState.UP
