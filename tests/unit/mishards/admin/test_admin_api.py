"""The admin API of a whole router, with calls, catalog and discovery in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.routing import Route

from mishards.admin.page import page_route
from mishards.admin.routes import admin_routes
from mishards.assembly import Edges, Router
from mishards.rest.application import api_routes, application
from mishards.rest.guarded import guarded
from mishards.security.guard import Guard
from mishards.security.options import SecurityOptions
from mishards.testing.cluster import InProcessCluster, running_cluster
from mishards.testing.waiting import eventually_async
from mishards.transport.api import Call

QUERIES = np.zeros((2, 4), np.float32)


@dataclass
class Api:
    cluster: InProcessCluster
    client_host: str = "127.0.0.1"
    routes: Sequence[Route] = ()

    async def _handle(self, call: Call) -> bytes:
        channel = self.cluster.network.channel("router:1")
        return await channel.call(call.method, call.request, deadline=call.deadline, metadata=call.metadata)

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        routes = [page_route(), *admin_routes(self.cluster.router.admin, self._handle), *api_routes(self._handle)]
        transport = httpx.ASGITransport(application(self.routes or routes), client=(self.client_host, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:19121") as client:
            return await client.request(method, path, **more)

    async def get(self, path: str) -> Any:
        response = await self.send("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def node(self, name: str) -> dict[str, Any]:
        return next(node for node in (await self.get("/api/topology"))["nodes"] if node["name"] == name)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_cluster(readers=3, replicas=2) as cluster:
        cluster.world.create("words")
        for number in range(8):
            cluster.world.add("words", range(number * 10, number * 10 + 10), np.ones((10, 4), np.float32))
        await cluster.snapshot_newer()
        yield Api(cluster)


async def test_the_topology_names_every_node_with_its_task_and_what_it_holds(api: Api) -> None:
    seen = await api.get("/api/topology")
    assert (seen["verdict"], seen["problems"], seen["leader"]) == ("ok", [], "writer")
    assert seen["searchers"] == ["reader-1", "reader-2", "reader-3"]
    tasks = {node["name"]: node["task"] for node in seen["nodes"]}
    assert tasks == {"reader-1": "searches", "reader-2": "searches", "reader-3": "searches", "writer": "leads"}
    assert sum(node["segments"] for node in seen["nodes"]) == 16
    assert (seen["snapshot"]["segments"], seen["snapshot"]["rows"], seen["snapshot"]["collections"]) == (8, 80, 1)
    assert await api.get("/api/snapshot") == {**seen["snapshot"], **await _moving(api)}


async def _moving(api: Api) -> dict[str, Any]:
    """What changes from one look to the next."""
    seen = await api.get("/api/snapshot")
    return {key: pytest.approx(seen[key], rel=0.5, abs=1e6) for key in ("age_ms", "taken_at", "reads", "mean_read_ms")}


async def test_a_dead_node_is_the_first_thing_that_is_told(api: Api) -> None:
    api.cluster.network.kill("reader-2:1")
    await eventually_async(lambda: api.cluster.health_reason("reader-2"))
    seen = await api.get("/api/topology")
    assert seen["verdict"] == "warning"
    assert seen["problems"][0]["what"] == "reader-2 is down"
    assert seen["replica_deficit"] == (await api.node("reader-2"))["segments"] > 0


async def test_losing_the_writable_node_is_critical(api: Api) -> None:
    api.cluster.backend.remove("writer")
    await eventually_async(lambda: "writer" in api.cluster.router.fleet.membership.absent)
    seen = await api.get("/api/topology")
    assert [problem["what"] for problem in seen["problems"]] == ["writer has vanished from discovery"]


async def test_the_placement_is_the_one_by_which_searches_go(api: Api) -> None:
    (words,) = (await api.get("/api/placement"))["collections"]
    await api.cluster.search("words", QUERIES, 3)
    asked = {int(file): name for name, calls in api.cluster.searched().items() for ids in calls for file in ids}
    segments = {s.segment_id: s.file.id for s in api.cluster.router.cache.current.collections["words"].segments}  # type: ignore[union-attr]  # it was read
    assert len(words["segments"]) == 8
    for segment in words["segments"]:
        assert asked[segments[segment["segment_id"]]] in segment["owners"]
        assert len(segment["owners"]) == 2
        assert len(segment["spares"]) == 1
    assert words["total"] == {"segments": 8, "rows": 80, "nbytes": 1920}
    assert sum(share["rows"] for share in words["shares"].values()) == 160


async def test_a_placement_of_one_collection_has_no_other(api: Api) -> None:
    api.cluster.world.create("others")
    await api.cluster.snapshot_newer()
    assert [each["name"] for each in (await api.get("/api/placement"))["collections"]] == ["others", "words"]
    assert [each["name"] for each in (await api.get("/api/placement?collection=words"))["collections"]] == ["words"]
    assert (await api.send("GET", "/api/placement?collection=none")).status_code == 404


async def test_what_would_move_when_a_node_leaves_is_what_moves_when_it_does(api: Api) -> None:
    foretold = await api.get("/api/placement/change?leaves=reader-3")
    before = await _owners(api)
    held = {segment for segment, owners in before.items() if "reader-3" in owners}
    assert {move["segment_id"] for move in foretold["moves"]} == held
    assert foretold["lost"]["reader-3"]["segments"] == foretold["loaded"]["segments"] == len(held)
    assert (await api.send("POST", "/api/nodes/reader-3/drain")).json() == {"node": "reader-3", "drained": True}
    after = await _owners(api)
    for move in foretold["moves"]:
        was, now = set(before[move["segment_id"]]), set(after[move["segment_id"]])
        assert (now - was, was - now) == (set(move["to"]), set(move["away"]))


async def _owners(api: Api) -> dict[str, list[str]]:
    (words,) = (await api.get("/api/placement"))["collections"]
    return {segment["segment_id"]: segment["owners"] for segment in words["segments"]}


async def test_a_node_that_would_join_gets_its_share(api: Api) -> None:
    change = await api.get("/api/placement/change?joins=reader-4")
    assert 0 < change["gained"]["reader-4"]["segments"] <= 5
    assert change["copies"] == 16
    assert not change["shortened"]


@pytest.mark.parametrize(
    "query",
    ["", "?leaves=a&joins=b", "?leaves=nobody", "?joins=reader-1", "?joins=new&weight=none", "?joins=x&weight=0"],
)
async def test_a_change_that_means_nothing_is_refused(api: Api, query: str) -> None:
    response = await api.send("GET", f"/api/placement/change{query}")
    assert response.status_code == 400
    assert response.json()["message"]


async def test_a_drained_node_gets_no_search_until_it_is_taken_back(api: Api) -> None:
    assert (await api.send("POST", "/api/nodes/reader-1/drain")).status_code == 200
    api.cluster.forget_calls()
    for _ in range(10):
        await api.cluster.search("words", QUERIES, 3)
    assert "reader-1" not in api.cluster.searched()
    seen = await api.get("/api/topology")
    assert [problem["what"] for problem in seen["problems"]] == ["reader-1 is drained by an operator"]
    assert (await api.node("reader-1"))["drained"]
    assert (await api.send("POST", "/api/nodes/reader-1/undrain")).json() == {"node": "reader-1", "drained": False}
    assert (await api.get("/api/topology"))["searchers"] == ["reader-1", "reader-2", "reader-3"]


async def test_a_drained_node_is_drained_for_every_router_and_after_a_restart(api: Api) -> None:
    cluster, asked = api.cluster, "/api/nodes/reader-1"
    options = replace(cluster.options, network=replace(cluster.options.network, address="router:2"))
    records = cluster.world.record_replicas, cluster.world.record_drain
    edges = Edges(cluster.network, cluster.world.read, cluster.backend.discovery(), lambda: None, *records)
    assert (await api.send("POST", f"{asked}/drain")).status_code == 200
    other = Router(options, edges)
    await other.start()
    try:
        await asyncio.wait_for(other.ready(), 30)
        for action, searchers in (
            ("drain", ["reader-2", "reader-3"]),
            ("undrain", ["reader-1", "reader-2", "reader-3"]),
        ):
            assert (await api.send("POST", f"{asked}/{action}")).status_code == 200
            await eventually_async(lambda: [node.name for node in other.fleet.membership.searchers] == searchers)  # noqa: B023 - awaited here
    finally:
        await other.stop()


async def test_a_drained_node_that_is_gone_for_good_can_be_taken_back(api: Api) -> None:
    api.cluster.world.record_drain("moved-away", True)
    await api.cluster.snapshot_newer()
    await eventually_async(lambda: "moved-away" in api.cluster.router.fleet.drained)
    assert (await api.send("POST", "/api/nodes/moved-away/undrain")).status_code == 200
    assert not api.cluster.world.drained
    assert (await api.send("POST", "/api/nodes/moved-away/undrain")).status_code == 404


async def test_what_cannot_be_recorded_is_not_drained_and_what_was_stays_while_the_database_is_away(api: Api) -> None:
    assert (await api.send("POST", "/api/nodes/reader-1/drain")).status_code == 200
    api.cluster.world.away = True
    refused = await api.send("POST", "/api/nodes/reader-2/drain")
    assert (refused.status_code, "away" in refused.json()["message"]) == (400, True)
    assert (await api.get("/api/topology"))["searchers"] == ["reader-2", "reader-3"]


async def test_neither_a_writable_node_nor_the_last_one_is_drained(api: Api) -> None:
    refused = await api.send("POST", "/api/nodes/writer/drain")
    assert (refused.status_code, "writable" in refused.json()["message"]) == (409, True)
    api.cluster.backend.remove("writer")
    unknown = await api.send("POST", "/api/nodes/nobody/drain")
    assert (unknown.status_code, "reader-1" in unknown.json()["message"]) == (404, True)


async def test_the_last_node_that_can_search_is_not_drained() -> None:
    async with running_cluster(readers=1, writer=False) as cluster:
        refused = await Api(cluster).send("POST", "/api/nodes/reader-1/drain")
        assert (refused.status_code, "last node" in refused.json()["message"]) == (409, True)


async def test_replica_numbers_are_set_and_taken_back(api: Api) -> None:
    response = await api.send("PUT", "/api/collections/words/replicas", json={"replicas": 3})
    assert response.json() == {"collection": "words", "replicas": 3}
    (words,) = (await api.get("/api/placement"))["collections"]
    assert (words["replicas"], words["replicas_set"]) == (3, True)
    response = await api.send("PUT", "/api/collections/words/replicas", json={"replicas": None})
    assert response.json() == {"collection": "words", "replicas": 2}


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"replicas": 0}, 400), ({"replicas": 65}, 400), ({"replicas": "two"}, 400), ({"replicas": True}, 400)],
)
async def test_a_replica_number_that_is_none_is_refused(api: Api, body: Any, status: int) -> None:
    response = await api.send("PUT", "/api/collections/words/replicas", json=body)
    assert response.status_code == status, response.text
    assert not api.cluster.world.replicas


async def test_a_collection_that_is_unknown_is_404(api: Api) -> None:
    assert (await api.send("PUT", "/api/collections/none/replicas", json={"replicas": 2})).status_code == 404
    assert (await api.send("POST", "/api/collections/none/warm")).status_code == 404


async def test_warming_loads_every_copy(api: Api) -> None:
    api.cluster.forget_calls()
    assert (await api.send("POST", "/api/collections/words/warm")).json() == {"collection": "words", "warm": True}
    assert sum(len(ids) for calls in api.cluster.searched().values() for ids in calls) == 16
    refused = await api.send("POST", "/api/collections/words/warm", json={"partitions": "all"})
    assert (refused.status_code, "partitions" in refused.json()["message"]) == (400, True)


async def test_slow_searches_come_with_their_stages_and_nodes(api: Api) -> None:
    await api.cluster.search("words", QUERIES, 3)
    (search,) = (await api.get("/api/slow"))["searches"]
    assert (search["collection"], search["nq"], search["topk"], search["outcome"]) == ("words", 2, 3, "SUCCESS")
    assert {"do_search", "do_merge"} <= search["stages_ms"].keys()
    assert {call["node"] for call in search["node_calls"]} <= {"reader-1", "reader-2", "reader-3"}
    assert search["node_calls"]


async def test_before_a_snapshot_there_is_no_placement_and_that_is_told() -> None:
    async with running_cluster(readers=0, writer=False) as cluster:
        api = Api(cluster)
        await eventually_async(lambda: cluster.router.cache.current)
        seen = await api.get("/api/topology")
        assert seen["verdict"] == "critical"
        cluster.router.cache._current = None  # as it is until the first read has succeeded
        cluster.world.away = True
        assert (await api.get("/api/topology"))["snapshot"]["version"] is None
        assert (await api.send("GET", "/api/placement")).status_code == 400


async def test_nobody_elsewhere_changes_anything(api: Api) -> None:
    api.client_host = "10.1.2.3"
    for method, path in (
        ("POST", "/api/nodes/reader-1/drain"),
        ("POST", "/api/nodes/reader-1/undrain"),
        ("POST", "/api/collections/words/warm"),
        ("PUT", "/api/collections/words/replicas"),
    ):
        refused = await api.send(method, path, json={"replicas": 2})
        assert (refused.status_code, "10.1.2.3" in refused.json()["message"]) == (403, True)
    assert (await api.get("/api/topology"))["verdict"] == "ok"


@pytest.mark.parametrize(
    ("token", "read", "change"), [("", 401, 401), ("r" * 20, 200, 403), ("a" * 20, 200, 200), ("x" * 20, 401, 401)]
)
async def test_where_access_is_controlled_roles_decide_and_not_where_one_is(token: str, read: int, change: int) -> None:
    security = SecurityOptions(tokens=f"reader read {'r' * 20};admin admin {'a' * 20}")
    async with running_cluster(readers=2, writer=False) as cluster:
        parts = replace(cluster.router.admin, access_controlled=True)
        api = Api(cluster, "10.1.2.3", guarded(admin_routes(parts, no_calls), Guard(security)))
        headers = {"authorization": f"Bearer {token}"} if token else {}
        assert (await api.send("GET", "/api/topology", headers=headers)).status_code == read
        assert (await api.send("POST", "/api/nodes/reader-1/drain", headers=headers)).status_code == change
        assert cluster.router.fleet.drained == (frozenset({"reader-1"}) if change == 200 else frozenset())


async def no_calls(call: Call) -> bytes:
    raise AssertionError(call.method)


async def test_browsers_get_the_page_and_clients_of_the_api_its_answer(api: Api) -> None:
    page = await api.send("GET", "/", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "Milvus 1.1" in (await api.send("GET", "/")).text
