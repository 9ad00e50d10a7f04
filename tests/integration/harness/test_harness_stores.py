from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from harness.etcd import Etcd
from harness.processes import server_folder
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper, ensemble

kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")


@pytest.fixture
def zookeeper_folder() -> Iterator[Path]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with server_folder("zookeeper") as folder:
        yield folder


def test_what_zookeeper_has_taken_survives_a_kill(zookeeper_folder: Path) -> None:
    with ZooKeeper(zookeeper_folder) as server:
        server.launch()
        assert server.mode() == "standalone"
        client = kazoo.KazooClient(server.address, timeout=2)
        client.start(timeout=10)
        client.create("/here", b"41")
        client.stop()
        client.close()
        server.kill()
        assert server.mode() == ""
        server.launch()
        client = kazoo.KazooClient(server.address, timeout=2)
        client.start(timeout=10)
        assert client.get("/here")[0] == b"41"
        client.stop()
        client.close()


def test_an_ensemble_chooses_another_leader_when_its_leader_dies(zookeeper_folder: Path) -> None:
    servers = ensemble(zookeeper_folder)
    with ExitStack() as running:
        for server in servers:
            running.enter_context(server).start()
        eventually(
            lambda: sorted(server.mode() for server in servers) == ["follower", "follower", "leader"], 30, "a leader"
        )
        leader = next(server for server in servers if server.mode() == "leader")
        leader.kill()
        eventually(
            lambda: sorted(server.mode() for server in servers) == ["", "follower", "leader"], 30, "another leader"
        )


def test_what_etcd_has_taken_survives_a_kill(tmp_path: Path) -> None:
    if missing := Etcd.missing():
        pytest.skip(missing)
    key, value = "aGVyZQ==", "NDE="
    with Etcd(tmp_path) as server:
        server.launch()
        httpx.post(f"{server.url}/v3/kv/put", json={"key": key, "value": value}).raise_for_status()
        server.kill()
        assert not server.healthy()
        server.launch()
        found = httpx.post(f"{server.url}/v3/kv/range", json={"key": key}).json()["kvs"]
        assert [(entry["key"], entry["value"]) for entry in found] == [(key, value)]
