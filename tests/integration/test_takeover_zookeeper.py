"""The leader is cut off from ZooKeeper, and from nothing else: it must fall silent before another one leads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import server_folder
from harness.takeover import Cluster, Searches, Stream
from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper

pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")


@pytest.fixture
def zookeeper() -> Iterator[ZooKeeper]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with server_folder("zookeeper") as folder, ZooKeeper(folder) as server:
        server.launch()
        yield server


def test_a_leader_cut_off_from_zookeeper_stands_by_in_place_and_nothing_is_lost(
    zookeeper: ZooKeeper, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(TcpProxy(zookeeper.address)) for _ in range(2)]
        elections = [{"uri": f"zookeeper://{proxy.address}/mishards/election?session_s=3"} for proxy in proxies]
        cluster = stack.enter_context(Cluster(tmp_path, *elections))
        cluster.create()
        stream = Stream(cluster, seed=4)
        with Searches(cluster).running(), stream.running():
            cut_off = cluster.leader()
            stream.wait_for_more()
            proxies[cluster.writables.index(cut_off)].freeze()
            successor = cluster.other(cut_off)
            eventually(lambda: cluster.claim(successor)["leading"], 30, "the other node leads")
            assert not cluster.claim(cut_off)["leading"]
            stream.wait_for_more(timeout_s=60)
            assert not cluster.claim(cut_off)["leading"]
            proxies[cluster.writables.index(cut_off)].heal()
            cluster.agreed()
            stream.wait_for_more(timeout_s=60)
        cluster.flush()
        stream.assert_kept(cluster.stored())
