"""Who is there and how they are: nodes, who leads, the snapshot, and first of all what is wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from mishards.admin.memory import Memory
from mishards.admin.problems import Problem, Trouble, problems_of
from mishards.catalog.cache import SnapshotCache
from mishards.cluster.fleet import Fleet
from mishards.cluster.node import Node
from mishards.discovery.watch import NodeWatch
from mishards.metrics.placement import Share, Spread, Spreads, deficit
from mishards.service.readiness import Readiness


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as this router knows it."""

    name: str
    role: str
    address: str
    state: str
    """What discovery says: ready, joining, draining or absent."""
    health: str
    reason: str
    task: str
    """``leads``, ``stands by``, ``searches``, ``leads and searches``, or nothing."""
    zone: str
    weight: float
    version: str
    ours: bool
    """Is it one of our own nodes, and no Milvus server?"""
    drained: bool
    """Has an operator told routers to send it nothing?"""
    outstanding: int
    latency_ms: float
    load_share: float
    errors: int
    trips: int
    segments: int
    rows: int
    nbytes: int
    memory: Memory | None


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """The snapshot of the catalog that searches work on."""

    version: int | None
    age_ms: int | None
    taken_at: float | None
    """In seconds since 1970."""
    error: str
    reads: int
    failed_reads: int
    mean_read_ms: float
    collections: int
    segments: int
    rows: int


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything at a glance."""

    router: str
    version: str
    up_s: float
    ready: bool
    verdict: str
    """``ok``, ``warning`` or ``critical``: the worst of the problems."""
    problems: tuple[Problem, ...]
    leader: str
    standbys: tuple[str, ...]
    searchers: tuple[str, ...]
    discovery_error: str
    replica_deficit: int
    nodes: tuple[NodeView, ...]
    snapshot: SnapshotView


@dataclass(frozen=True, slots=True)
class Sources:
    """What a router's state is read from; all of it belongs to the event loop, but for ``spreads``."""

    router: str
    version: str
    started_at: float
    fleet: Fleet
    cache: SnapshotCache
    watch: NodeWatch
    readiness: Readiness
    spreads: Spreads


def topology(sources: Sources, spread: Spread, memories: Mapping[str, Memory]) -> Topology:
    """What there is to see now."""
    fleet = sources.fleet
    missing = deficit(spread, lambda name: (node := fleet.get(name)) is not None and node.usable)
    nodes = tuple(_node(node, fleet, spread, memories) for node in sorted(fleet, key=lambda node: node.name))
    problems = problems_of(_trouble(sources, spread, missing))
    writer = fleet.writer
    return Topology(
        router=sources.router,
        version=sources.version,
        up_s=round(time.monotonic() - sources.started_at, 1),
        ready=not sources.readiness.problems(),
        verdict=problems[0].severity if problems else "ok",
        problems=tuple(problems),
        leader="" if writer is None else writer.name,
        standbys=tuple(node.name for node in fleet.writers() if node is not writer),
        searchers=tuple(record.name for record in fleet.membership.searchers),
        discovery_error="" if sources.watch.error is None else str(sources.watch.error),
        replica_deficit=missing,
        nodes=nodes,
        snapshot=snapshot_view(sources.cache, spread),
    )


def snapshot_view(cache: SnapshotCache, spread: Spread) -> SnapshotView:
    """The snapshot at hand, and how reading it goes."""
    current, error = cache.current, cache.error
    age_s = None if current is None else time.monotonic() - current.taken_at
    return SnapshotView(
        version=None if current is None else current.version,
        age_ms=None if age_s is None else round(age_s * 1000),
        taken_at=None if age_s is None else round(time.time() - age_s, 3),
        error="" if error is None else str(error),
        reads=cache.reads,
        failed_reads=cache.failures,
        mean_read_ms=round(cache.read_s / cache.reads * 1000, 3) if cache.reads else 0.0,
        collections=0 if current is None else len(current.collections),
        segments=spread.segments,
        rows=spread.rows,
    )


def _trouble(sources: Sources, spread: Spread, missing: int) -> Trouble:
    fleet, cache = sources.fleet, sources.cache
    return Trouble(
        unready=tuple(sources.readiness.problems()),
        nodes=tuple(
            (node.name, state_of(node), node.health.state.value, node.health.reason, _held(node, spread).segments)
            for node in fleet
        ),
        drained=fleet.drained,
        has_leader=fleet.writer is not None,
        standbys=tuple(node.name for node in fleet.writers()),
        catalog_error="" if cache.error is None else str(cache.error),
        snapshot_age_s=cache.age_s,
        discovery_error="" if sources.watch.error is None else str(sources.watch.error),
        replica_deficit=missing,
    )


def _held(node: Node, spread: Spread) -> Share:
    return spread.shares.get(node.name, Share())


def state_of(node: Node) -> str:
    """What discovery says of a node."""
    return node.record.state.value if node.present else "absent"


def _node(node: Node, fleet: Fleet, spread: Spread, memories: Mapping[str, Memory]) -> NodeView:
    record, held = node.record, _held(node, spread)
    return NodeView(
        name=record.name,
        role=record.role.value,
        address=record.address,
        state=state_of(node),
        health=node.health.state.value,
        reason=node.health.reason,
        task=_task(node, fleet),
        zone=record.zone,
        weight=record.weight,
        version=node.version,
        ours=bool(node.capabilities),
        drained=record.name in fleet.drained,
        outstanding=node.outstanding,
        latency_ms=round(node.latency.average_s * 1000, 3),
        load_share=round(node.load_share(), 3),
        errors=node.errors.total(),
        trips=node.trips,
        segments=held.segments,
        rows=held.rows,
        nbytes=held.nbytes,
        memory=memories.get(record.name),
    )


def _task(node: Node, fleet: Fleet) -> str:
    tasks = []
    if node is fleet.writer:
        tasks.append("leads")
    elif node in fleet.writers():
        tasks.append("stands by")
    if any(record.name == node.name for record in fleet.membership.searchers):
        tasks.append("searches")
    return " and ".join(tasks)
