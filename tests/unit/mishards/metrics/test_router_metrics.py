"""What a whole router shows, with calls, catalog and discovery in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mishards import __version__
from mishards.assembly import Router
from mishards.catalog.cache import SnapshotCache
from mishards.catalog.snapshot import Collection
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.errors import (
    Code,
    NodeFault,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    Overloaded,
    RpcStatus,
)
from mishards.logs.calls import Served
from mishards.metrics.calls import CallMetrics
from mishards.metrics.exposition import metrics_route, registry_of
from mishards.metrics.placement import Spreads
from mishards.metrics.state import Parts, RouterState
from mishards.rest.application import application
from mishards.routing.api import Owner, Placement
from mishards.service.admission import Admission, AdmissionOptions, CallClass
from mishards.testing.cluster import InProcessCluster, running_cluster, search_param
from mishards.testing.waiting import eventually_async
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb

STATES = ("new", "up", "down")
QUERIES = np.zeros((2, 4), np.float32)


@pytest.fixture
async def cluster() -> AsyncIterator[InProcessCluster]:
    async with running_cluster(readers=2, replicas=2) as running:
        running.world.create("words")
        for number in range(4):
            running.world.add("words", range(number * 10, number * 10 + 10), np.ones((10, 4), np.float32))
        await running.snapshot_newer()
        yield running


def shown(cluster: InProcessCluster, name: str, **labels: str) -> float | None:
    return cluster.router.metrics.get_sample_value(name, labels)


async def test_calls_are_counted_by_method_and_code_and_timed_by_stage(cluster: InProcessCluster) -> None:
    await cluster.search("words", QUERIES, 3)
    await cluster.search("absent", QUERIES, 3)
    insert = pb.InsertParam(collection_name="words", row_record_array=[pb.RowRecord(float_data=[1, 2, 3, 4])])
    await cluster.call("Insert", insert)
    assert shown(cluster, "mishards_requests_total", method="Search", code="SUCCESS") == 1
    assert shown(cluster, "mishards_requests_total", method="Search", code="COLLECTION_NOT_EXISTS") == 1
    assert shown(cluster, "mishards_requests_total", method="Insert", code="SUCCESS") == 1
    assert shown(cluster, "mishards_request_duration_seconds_count", method="Search") == 2
    for stage, times in (("get_routing", 2), ("do_search", 1), ("do_merge", 1)):
        assert shown(cluster, "mishards_search_stage_duration_seconds_count", stage=stage) == times


async def test_methods_that_nobody_knows_share_one_name(cluster: InProcessCluster) -> None:
    for number in range(3):
        with pytest.raises(NodeRejected):
            await cluster.network.channel("router:1").call(f"Guess{number}", b"", deadline=Deadline.after(10))
    assert shown(cluster, "mishards_requests_total", method="unknown", code="UNEXPECTED_ERROR") == 3


async def test_a_failover_is_counted_with_what_went_wrong_and_the_breaker_that_opened() -> None:
    async with running_cluster(readers=2) as cluster:
        cluster.world.create("words")
        for number in range(8):
            cluster.world.add("words", [number], np.ones((1, 4), np.float32))
        await cluster.snapshot_newer()
        assert (shown(cluster, "mishards_node_segments", node="reader-1") or 0) > 0
        gone = NodeUnavailable("reader-1:1", "gone")
        cluster.network.link(cluster.address("reader-1")).faults = {"SearchInFiles": [gone]}
        await cluster.search("words", QUERIES, 3)
        assert shown(cluster, "mishards_node_errors_total", node="reader-1", kind="unavailable") == 1
        assert shown(cluster, "mishards_failovers_total", method="Search") == 1
        assert shown(cluster, "mishards_node_trips_total", node="reader-1") == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NodeOverloaded("writer:1", "full"), "overloaded"),
        (NodeRejected("writer:1", "no", RpcStatus.PERMISSION_DENIED), "rejected"),
        (NodeTimeout("writer:1", "late"), "timeout"),
        (NodeFault("writer:1", "broken"), "fault"),
    ],
)
async def test_errors_of_nodes_are_counted_by_kind(cluster: InProcessCluster, error: Exception, kind: str) -> None:
    cluster.network.link(cluster.address("writer")).faults = {"Flush": [error]}
    with suppress(NodeOverloaded, NodeRejected, NodeTimeout):  # those that end as a gRPC status
        await cluster.call("Flush", pb.FlushParam(collection_name_array=["words"]))
    assert shown(cluster, "mishards_node_errors_total", node="writer", kind=kind) == 1


async def test_a_node_that_has_left_is_shown_no_more(cluster: InProcessCluster) -> None:
    cluster.add_node("reader-3")
    await eventually_async(lambda: shown(cluster, "mishards_node_up", node="reader-3", role="readonly") == 1)
    await cluster.call("ReloadSegments", pb.ReLoadSegmentsParam(collection_name="words"))
    measured = {"node": "reader-3", "method": "ReloadSegments"}
    assert shown(cluster, "mishards_node_call_duration_seconds_count", **measured) == 1
    cluster.backend.put(NodeRecord("reader-3", NodeRole.READONLY, "reader-3:1", state=NodeState.DRAINING))
    cluster.backend.remove("reader-3")
    await eventually_async(lambda: shown(cluster, "mishards_node_up", node="reader-3", role="readonly") is None)
    assert shown(cluster, "mishards_node_call_duration_seconds_count", **measured) is None


async def test_a_node_that_vanished_is_down_and_its_replicas_are_missing(cluster: InProcessCluster) -> None:
    assert shown(cluster, "mishards_replica_deficit") == 0
    assert shown(cluster, "mishards_node_rows", node="reader-1") == 40
    cluster.backend.remove("reader-1")
    await eventually_async(lambda: shown(cluster, "mishards_node_up", node="reader-1", role="readonly") == 0)
    assert shown(cluster, "mishards_replica_deficit") == 4
    assert shown(cluster, "mishards_members", role="readonly") == 2


async def test_the_breaker_of_a_node_is_in_one_state(cluster: InProcessCluster) -> None:
    states = {state: shown(cluster, "mishards_node_breaker_state", node="writer", state=state) for state in STATES}
    assert states == {"new": 0, "up": 1, "down": 0}


async def test_every_loop_shows_when_it_last_came_round(cluster: InProcessCluster) -> None:
    for loop in ("fleet-probe", "joiners", "catalog-refresh"):
        age = shown(cluster, "mishards_loop_age_seconds", loop=loop)
        assert age is not None
        assert age >= 0


async def test_a_database_or_discovery_that_is_away_shows(cluster: InProcessCluster) -> None:
    assert shown(cluster, "mishards_snapshot_refreshes_total", result="failed") == 0
    cluster.world.away = True
    cluster.backend.lose()
    await eventually_async(lambda: (shown(cluster, "mishards_snapshot_refreshes_total", result="failed") or 0) > 0)
    await eventually_async(lambda: shown(cluster, "mishards_discovery_up") == 0)
    assert shown(cluster, "mishards_ready") == 1
    assert (shown(cluster, "mishards_snapshot_age_seconds") or 0) > 0
    assert shown(cluster, "mishards_loop_failures_total", loop="catalog-refresh")


def state_of(router: Router, cache: SnapshotCache, admission: Admission) -> CollectorRegistry:
    spreads = Spreads(lambda *_: defaultdict(tuple), lambda _: 1)
    parts = Parts(router.fleet, cache, router._watch, admission, router.readiness, spreads, lambda: 3, lambda: 4, {})
    return registry_of([RouterState(parts)])


async def test_a_router_without_a_snapshot_shows_what_it_can(cluster: InProcessCluster) -> None:
    registry = state_of(cluster.router, SnapshotCache(cluster.world.read), Admission(AdmissionOptions()))
    assert registry.get_sample_value("mishards_snapshot_age_seconds") == float("inf")
    assert registry.get_sample_value("mishards_segments") is None
    assert registry.get_sample_value("mishards_discovery_up") == 1


async def test_what_is_under_way_refused_left_out_and_lost_is_shown(cluster: InProcessCluster) -> None:
    admission = Admission(AdmissionOptions(max_writes=1))
    registry = state_of(cluster.router, cluster.router.cache, admission)
    with admission.admitted(CallClass.WRITE):
        assert registry.get_sample_value("mishards_requests_in_progress", {"class": "write"}) == 1
        with pytest.raises(Overloaded), admission.admitted(CallClass.WRITE):
            pass
    assert registry.get_sample_value("mishards_requests_in_progress", {"class": "write"}) == 0
    assert registry.get_sample_value("mishards_requests_refused_total", {"class": "write"}) == 1
    assert registry.get_sample_value("mishards_access_log_skipped_total") == 3
    assert registry.get_sample_value("mishards_dropped_spans_total") == 4


def test_what_was_noted_of_a_call_is_counted() -> None:
    metrics = CallMetrics()
    call = Call("Search", b"", (), Deadline.never())
    call.notes.update(missing=2, retries=1, failovers=2, hedges=3, do_merge_ms=5.0)
    for _ in range(2):
        metrics.ended(Served(call, "r-1", Code.SUCCESS, "OK", 0.5))
    registry = registry_of([metrics])
    found = {
        name: registry.get_sample_value(f"mishards_{name}_total", {"method": "Search"})
        for name in ("retries", "failovers", "hedges")
    }
    assert found == {"retries": 2, "failovers": 4, "hedges": 6}
    assert registry.get_sample_value("mishards_partial_results_total") == 2
    merges = registry.get_sample_value("mishards_search_stage_duration_seconds_sum", {"stage": "do_merge"})
    assert merges == pytest.approx(0.01)


async def test_metrics_are_served_as_text_and_as_openmetrics(cluster: InProcessCluster) -> None:
    app = application([metrics_route(cluster.router.metrics)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://router") as client:
        plain = await client.get("/metrics")
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert f'mishards_build_info{{version="{__version__}"}} 1.0' in plain.text
    families = {family.name for family in text_string_to_metric_families(plain.text)}
    assert {"mishards_ready", "process_cpu_seconds"} <= families
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


async def test_what_takes_long_is_prepared_before_the_page_is_written() -> None:
    prepared: list[bool] = []

    async def prepare() -> None:
        prepared.append(True)

    app = application([metrics_route(registry_of([CallMetrics()]), prepare)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://router") as client:
        await client.get("/metrics")
    assert prepared == [True]


async def test_the_placement_that_was_prepared_is_the_one_that_is_shown(cluster: InProcessCluster) -> None:
    router = cluster.router
    asked: list[threading.Thread] = []

    def place(found: Collection, owners: tuple[Owner, ...]) -> Placement:
        asked.append(threading.current_thread())
        return {segment.segment_id: tuple(owner.name for owner in owners) for segment in found.segments}

    cache = SnapshotCache(cluster.world.read)
    cache.start()
    try:
        cache.fresh(0.0).result(10)
        spreads, admission = Spreads(place, lambda _: 1), Admission(AdmissionOptions())
        parts = Parts(router.fleet, cache, router._watch, admission, router.readiness, spreads, int, int, {})
        state = RouterState(parts)
        await state.prepare()
        assert registry_of([state]).get_sample_value("mishards_segments") == 4
    finally:
        cache.close()
    assert threading.main_thread() not in asked


async def test_every_call_to_a_node_bears_the_id_that_its_client_is_told(cluster: InProcessCluster) -> None:
    await cluster.call("Search", search_param("words", QUERIES, 3), metadata=[("x-request-id", "mine")])
    ids = {dict(call.metadata)["request_id"] for _, call in cluster.received("SearchInFiles")}
    assert ids == {"mine"}
