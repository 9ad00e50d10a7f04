"""Searches for which everything is at hand take the short way, and are what they would be on the usual one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.node_rpc import records
from harness.real_cluster import PATIENT, RealCluster, real_cluster
from mishards.deadline import Deadline
from mishards.errors import NodeFault, NodeOverloaded, NodeUnavailable
from mishards.query.options import SearchOptions
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(41)
VECTORS = CHANCE.standard_normal((60, 4)).astype(np.float32)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RealCluster]:
    """Three segments on two readers, behind one router that has searched them once."""
    async with real_cluster(tmp_path, routers=1) as running:
        door = running.doors[0]
        await door.create()
        for start in range(0, 60, 20):
            await door.insert(VECTORS[start : start + 20], range(start, start + 20))
            await door.flush()
        await short_from_now_on(running)
        yield running


async def short_from_now_on(cluster: RealCluster) -> None:
    """Search until nothing is new any more: neither nodes, nor what they hold, nor the catalog."""
    door = cluster.doors[0]
    request = pb.SearchParam(
        collection_name="words",
        query_record_array=records(VECTORS[:1]),
        topk=5,
        extra_params=[pb.KeyValuePair(key="params", value="{}")],
    ).SerializeToString()
    deadline = Deadline.after(30)
    while door.router._searcher._plans.at_hand(request) is None:
        assert deadline.remaining()
        await door.search(VECTORS[:1], 5)
        await asyncio.sleep(0)


class Counted:
    """How many searches of a router took the short way, and how many did not."""

    def __init__(self, cluster: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        searcher = cluster.doors[0].router._searcher
        self.short = self.usual = 0
        at_hand = searcher._plans.at_hand

        def counted(request: bytes) -> object:
            found = at_hand(request)
            self.short += found is not None
            self.usual += found is None
            return found

        monkeypatch.setattr(searcher._plans, "at_hand", counted)


def nearest(query: np.ndarray, live: list[int], topk: int) -> list[int]:
    distances = ((VECTORS[live] - query) ** 2).sum(axis=1)
    return [live[place] for place in np.lexsort((live, distances))[:topk]]


async def test_like_searches_take_it_from_the_second_on(cluster: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    door, counted = cluster.doors[0], Counted(cluster, monkeypatch)
    assert await door.search(VECTORS[:1], 6) == [nearest(VECTORS[0], list(range(60)), 6)]
    assert (counted.short, counted.usual) == (0, 1)
    for query in VECTORS[:10]:
        assert await door.search(query[None], 5) == [nearest(query, list(range(60)), 5)]
    assert counted.short >= 9


async def test_what_this_router_wrote_is_seen_all_the_same(
    cluster: RealCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, counted = cluster.doors[0], Counted(cluster, monkeypatch)
    assert await door.search(VECTORS[:1], 3) == [nearest(VECTORS[0], list(range(60)), 3)]
    await door.delete([0, 1])
    assert 0 not in (await door.search(VECTORS[:1], 3))[0]
    await door.flush()
    for _ in range(3):
        assert await door.search(VECTORS[:1], 3) == [nearest(VECTORS[0], list(range(2, 60)), 3)]
    assert counted.short


@pytest.mark.parametrize("fault", [NodeFault("x", "broken"), NodeUnavailable("x", "gone")], ids=["fault", "gone"])
async def test_a_node_that_fails_is_replaced_without_the_client_noticing(
    cluster: RealCluster, monkeypatch: pytest.MonkeyPatch, fault: NodeFault | NodeUnavailable
) -> None:
    door, counted = cluster.doors[0], Counted(cluster, monkeypatch)
    for name in ("reader-0", "reader-1"):
        cluster.network.link(f"{name}:1").faults["SearchInFiles"] = [fault]
        assert await door.search(VECTORS[:1], 5) == [nearest(VECTORS[0], list(range(60)), 5)]
        cluster.network.heal(f"{name}:1")
    assert counted.short


async def test_a_catalog_that_changes_during_the_search_is_looked_at_before_it_is_answered(
    cluster: RealCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, counted = cluster.doors[0], Counted(cluster, monkeypatch)
    searcher = door.router._searcher
    outdated = searcher.is_outdated
    monkeypatch.setattr(searcher, "is_outdated", lambda wanted: outdated(wanted) or True)
    assert await door.search(VECTORS[:1], 5) == [nearest(VECTORS[0], list(range(60)), 5)]
    assert counted.short == 1


async def test_a_refusal_of_a_node_reaches_the_client(cluster: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    door, counted = cluster.doors[0], Counted(cluster, monkeypatch)
    reply = await door.call(
        "Search",
        collection_name="words",
        query_record_array=records(np.zeros((1, 3), np.float32)),
        topk=5,
        extra_params=[pb.KeyValuePair(key="params", value="{}")],
    )
    assert reply.status.error_code == 7
    assert counted.short == 1


async def test_new_settings_are_gone_by_at_once(cluster: RealCluster) -> None:
    door = cluster.doors[0]
    router = door.router
    options: SearchOptions = replace(PATIENT.search, max_results=10)
    router.reconfigure(replace(router._options, search=options))
    with pytest.raises(NodeOverloaded, match="limit is 10"):
        await door.search(VECTORS[:3], 5)
