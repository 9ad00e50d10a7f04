"""Replica numbers that are set while routers run, and nodes that are warmed up before they get traffic."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.node_rpc import floats
from harness.real_cluster import real_cluster
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRole
from mishards.errors import NodeFault
from mishards.query.options import RoutingOptions
from mishards.testing.cluster import QUICK, InProcessCluster, running_cluster
from mishards.testing.waiting import eventually_async
from mishards.wire.extensions import REPLICAS_KEY
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(23)
RESTORING = replace(QUICK, routing=RoutingOptions(replicas=1, restore_after_ms=50))


def vectors(count: int) -> np.ndarray:
    return CHANCE.standard_normal((count, 4)).astype(np.float32)


async def filled(cluster: InProcessCluster, segments: int = 8) -> None:
    cluster.world.create("words")
    for number in range(segments):
        cluster.world.add("words", range(10 * number, 10 * number + 10), vectors(10))
    await cluster.snapshot_newer()


async def command(cluster: InProcessCluster, text: str) -> pb.StringReply:
    reply = await cluster.call("Cmd", pb.Command(cmd=text))
    assert isinstance(reply, pb.StringReply)
    return reply


def of_clients(cluster: InProcessCluster, name: str) -> int:
    """How many searches of more than the one vector that loads have reached a node."""
    calls = [call for node, call in cluster.received("SearchInFiles") if node == name]
    return sum(
        len(pb.SearchInFilesParam.FromString(call.request).search_param.query_record_array) > 1 for call in calls
    )


async def searched_by(cluster: InProcessCluster, searches: int = 12) -> set[str]:
    """The nodes that some searches reached."""
    cluster.forget_calls()
    for _ in range(searches):
        assert (await cluster.search("words", vectors(2), 3)).row_num == 2
    return {name for name in cluster.nodes if of_clients(cluster, name)}


async def test_a_number_that_is_set_gives_every_segment_so_many_nodes() -> None:
    async with running_cluster(
        readers=3, options=replace(QUICK, routing=RoutingOptions(balancing="round_robin"))
    ) as cluster:
        await filled(cluster, segments=1)
        assert len(await searched_by(cluster)) == 1
        assert (await command(cluster, "set_config replicas.words 2")).status.error_code == 0
        assert (await command(cluster, "get_config replicas.words")).string_reply == "2"
        assert cluster.world.replicas == {"words": 2}
        while not all(of_clients(cluster, name) for name in cluster.searched()) or len(cluster.searched()) < 2:
            assert (await cluster.search("words", vectors(2), 3)).row_num == 2


async def test_a_preload_may_carry_the_number() -> None:
    async with running_cluster(readers=3) as cluster:
        await filled(cluster, segments=1)
        asked = pb.PreloadCollectionParam(collection_name="words")
        reply = await cluster.call("PreloadCollection", asked, metadata=[(REPLICAS_KEY, "3")])
        assert reply.error_code == 0  # type: ignore[attr-defined]  # a Status
        assert set(cluster.searched()) == {"reader-1", "reader-2", "reader-3"}
        for wrong in ("0", "65", "many", "-1", "9" * 20):
            reply = await cluster.call("PreloadCollection", asked, metadata=[(REPLICAS_KEY, wrong)])
            assert (reply.error_code, wrong in reply.reason) == (5, True)  # type: ignore[attr-defined]  # a Status
        assert cluster.world.replicas == {"words": 3}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("get_config replicas.none", 4),
        ("set_config replicas.none 2", 4),
        ("set_config replicas.words", 1),
        ("set_config replicas.words 2 3", 1),
        ("set_config replicas.words x", 5),
    ],
)
async def test_a_number_that_cannot_be_is_refused(text: str, code: int) -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster, segments=1)
        assert (await command(cluster, text)).status.error_code == code
        assert cluster.world.replicas == {}


async def test_other_settings_go_on_to_the_writable_node() -> None:
    async with running_cluster(readers=1) as cluster:
        await command(cluster, "get_config cache.cache_size")
        assert "get_config cache.cache_size" in [
            pb.Command.FromString(call.request).cmd for name, call in cluster.received("Cmd") if name == "writer"
        ]


async def test_a_new_owner_gets_no_search_before_it_has_loaded_its_segments() -> None:
    options = replace(QUICK, routing=RoutingOptions(balancing="round_robin"))
    async with running_cluster(readers=2, options=options) as cluster:
        await filled(cluster, segments=1)
        (owner,) = await searched_by(cluster)
        (other,) = {"reader-1", "reader-2"} - {owner}
        link = cluster.network.link(cluster.address(other))
        link.faults["SearchInFiles"] = [NodeFault("other:1", "not now") for _ in range(2)]
        link.slow_s = 0.02
        cluster.forget_calls()
        await command(cluster, "set_config replicas.words 2")
        while not of_clients(cluster, other):
            assert (await cluster.search("words", vectors(2), 3)).row_num == 2
        first = pb.SearchInFilesParam.FromString(
            next(call for name, call in cluster.received("SearchInFiles") if name == other).request
        )
        assert len(first.search_param.query_record_array) == 1, "the first call was one that loads"


async def test_a_node_that_joins_gets_no_search_before_it_has_loaded_its_segments() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        assert await searched_by(cluster) == {"reader-1"}
        cluster.add_node("reader-2")
        while not of_clients(cluster, "reader-2"):
            assert (await cluster.search("words", vectors(2), 3)).row_num == 2
        calls = [call for name, call in cluster.received("SearchInFiles") if name == "reader-2"]
        first = pb.SearchInFilesParam.FromString(calls[0].request)
        assert len(first.search_param.query_record_array) == 1


async def test_what_a_lost_node_held_is_loaded_by_the_next_candidates_without_a_search() -> None:
    async with running_cluster(readers=3, options=RESTORING) as cluster:
        await filled(cluster)
        held = await searched_by(cluster, 1)
        files = {number for calls in cluster.searched().get("reader-1", []) for number in calls}
        assert "reader-1" in held
        cluster.forget_calls()
        cluster.network.kill(cluster.address("reader-1"))

        def loaded() -> set[str]:
            return {n for name, calls in cluster.searched().items() if name != "reader-1" for ids in calls for n in ids}

        await eventually_async(lambda: loaded() >= files)
        assert await searched_by(cluster) <= {"reader-2", "reader-3"}
        cluster.network.heal(cluster.address("reader-1"))
        while not of_clients(cluster, "reader-1"):
            assert (await cluster.search("words", vectors(2), 3)).row_num == 2


async def test_without_warming_up_nothing_is_loaded_in_advance() -> None:
    options = replace(QUICK, routing=RoutingOptions(warm_up=False, restore_after_ms=0))
    async with running_cluster(readers=2, options=options) as cluster:
        await filled(cluster)
        cluster.forget_calls()
        cluster.add_node("reader-3")
        assert (await cluster.search("words", vectors(2), 3)).row_num == 2
        assert all(len(ids) for calls in cluster.searched().values() for ids in calls)
        assert sum(map(len, cluster.searched().values())) == sum(of_clients(cluster, name) for name in cluster.nodes)


async def test_several_routers_agree_on_a_number_and_forget_it_with_the_collection(tmp_path: Path) -> None:
    async with real_cluster(tmp_path) as cluster:
        first, second = cluster.doors
        await first.create()
        await first.insert(floats(1), [1])
        await first.flush()
        await first.ok("Cmd", cmd="set_config replicas.words 2")
        assert (await second.ok("Cmd", cmd="get_config replicas.words")).string_reply == "2"
        explained = [await door.router.explainer.explain("words", (), Deadline.after(20)) for door in cluster.doors]
        assert explained[0]["segments"] == explained[1]["segments"]
        assert explained[0]["replicas"] == explained[1]["replicas"] == 2
        await first.router.replicas.set("words", None, Deadline.after(20))
        assert (await second.ok("Cmd", cmd="get_config replicas.words")).string_reply == "1"
        await second.ok("Cmd", cmd="set_config replicas.words 3")
        await first.ok("DropCollection", collection_name="words")
        with closing(sqlite3.connect(cluster.database)) as database:
            assert database.execute("SELECT * FROM mishards_replicas").fetchall() == []
        await first.create()
        assert (await second.ok("Cmd", cmd="get_config replicas.words")).string_reply == "1"


async def test_a_writable_node_alone_holds_what_there_is() -> None:
    async with running_cluster(readers=0) as cluster:
        await filled(cluster, segments=2)
        assert await searched_by(cluster, 1) == {"writer"}
        assert cluster.nodes.keys() == {"writer"}
        assert NodeRole.WRITABLE in {node.record.role for node in cluster.router.fleet}
