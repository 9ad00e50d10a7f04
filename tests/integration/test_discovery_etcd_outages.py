from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.etcd import Etcd
from harness.waiting import eventually
from mishards.discovery.api import NodeRecord, NodeState
from mishards.discovery.record import encode
from mishards.errors import DiscoveryError
from mishards.testing.discovery import READER, WRITER, Recorder

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[etcd]'")

from mishards_plugins.discovery.etcd import plugin  # noqa: E402 - needs httpx
from mishards_plugins.discovery.http_watch import HttpWatch  # noqa: E402 - needs httpx
from mishards_plugins.discovery.kept_entry import KeptAnnouncer  # noqa: E402 - after what needs httpx

WAIT_S = 30.0
PREFIX = "/mishards"


class Cluster:
    """A server, and the plugin's objects on it; all are closed after the test."""

    def __init__(self, server: Etcd, closing: ExitStack) -> None:
        self.server = server
        self._closing = closing
        self._uri = f"etcd://127.0.0.1:{server.port}{PREFIX}?ttl_s=2"

    def announcer(self) -> KeptAnnouncer:
        announcer = plugin.announcer(self._uri)
        self._closing.callback(announcer.withdraw)
        return announcer

    def discovery(self) -> tuple[HttpWatch, Recorder]:
        discovery = plugin.discovery(self._uri)
        self._closing.callback(discovery.close)
        heard = Recorder()
        discovery.open(heard)
        return discovery, heard

    def post(self, method: str, body: Any) -> Any:
        reply = httpx.post(f"{self.server.url}/v3/{method}", json=body)
        reply.raise_for_status()
        return reply.json()

    def put(self, node: NodeRecord, raw: bytes, **lease: str) -> None:
        self.post("kv/put", {"key": key(node), "value": base64.b64encode(raw).decode(), **lease})

    def lease(self, node: NodeRecord) -> str:
        found = self.post("kv/range", {"key": key(node)}).get("kvs")
        return str(found[0]["lease"]) if found else ""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if missing := Etcd.missing():
        pytest.skip(missing)
    with ExitStack() as closing:
        server = closing.enter_context(Etcd(tmp_path))
        yield Cluster(server, closing)
        if server.running:
            server.resume()


def key(node: NodeRecord) -> str:
    return base64.b64encode(f"{PREFIX}/{node.name}".encode()).decode()


def settled(heard: Recorder, *nodes: object) -> None:
    eventually(lambda: heard.last == frozenset(nodes), WAIT_S, lambda: f"{nodes} are reported; last was {heard.last}")


def changed(read: Callable[[], str], before: str) -> None:
    eventually(lambda: read() not in ("", before), WAIT_S, "a new lease")


def test_the_last_set_stays_while_etcd_is_frozen_for_longer_than_the_lease(cluster: Cluster) -> None:
    cluster.server.launch()
    announcer = cluster.announcer()
    announcer.announce(READER)
    discovery, heard = cluster.discovery()
    settled(heard, READER)
    cluster.server.pause()
    draining = replace(READER, state=NodeState.DRAINING)
    with pytest.raises(DiscoveryError, match="does not do"):
        announcer.announce(draining)
    eventually(lambda: heard.losses, WAIT_S, "the silence is reported")  # it takes 5 s at least
    assert heard.sets == [frozenset({READER})]
    cluster.server.resume()
    settled(heard, draining)
    cluster.server.pause()
    thread = discovery._thread
    discovery.close()
    assert thread is not None
    assert not thread.is_alive()
    cluster.server.resume()


def test_a_killed_etcd_is_lost_and_comes_back_with_its_nodes(cluster: Cluster) -> None:
    cluster.server.launch()
    cluster.announcer().announce(READER)
    _, heard = cluster.discovery()
    settled(heard, READER)
    cluster.server.kill()
    eventually(lambda: heard.losses, WAIT_S, "the loss is reported")
    assert heard.sets == [frozenset({READER})]
    cluster.server.launch()
    cluster.announcer().announce(WRITER)
    settled(heard, READER, WRITER)


def test_a_key_is_put_again_when_its_lease_is_gone_or_it_was_deleted(cluster: Cluster) -> None:
    cluster.server.launch()
    cluster.announcer().announce(READER)
    _, heard = cluster.discovery()
    before = cluster.lease(READER)
    cluster.post("lease/revoke", {"ID": before})
    changed(lambda: cluster.lease(READER), before)
    cluster.post("kv/deleterange", {"key": key(READER)})
    changed(lambda: cluster.lease(READER), "")
    settled(heard, READER)


def test_a_node_that_flaps_in_etcd_ends_up_as_it_is(cluster: Cluster) -> None:
    cluster.server.launch()
    _, heard = cluster.discovery()
    announcer = cluster.announcer()
    for _ in range(5):
        announcer.announce(READER)
        announcer.withdraw()
    settled(heard)
    announcer.announce(READER)
    settled(heard, READER)
    assert not heard.losses


def test_a_router_may_be_there_before_etcd_and_a_node_says_that_it_cannot_register(cluster: Cluster) -> None:
    _, heard = cluster.discovery()
    assert heard.losses
    announcer = cluster.announcer()
    with pytest.raises(DiscoveryError, match="ConnectError"):
        announcer.announce(READER)
    cluster.server.launch()
    settled(heard)
    announcer.announce(READER)
    settled(heard, READER)


def test_a_restarted_node_takes_its_name_back_from_its_dead_lease(cluster: Cluster) -> None:
    cluster.server.launch()
    dead = cluster.post("lease/grant", {"TTL": 2})["ID"]
    cluster.put(READER, encode(READER), lease=dead)
    moved = replace(READER, address="10.0.0.9:19530")
    _, heard = cluster.discovery()
    settled(heard, READER)
    cluster.announcer().announce(moved)
    settled(heard, moved)


def test_a_key_put_by_hand_with_garbage_is_left_out_and_said_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.server.launch()
    cluster.put(READER, b"\xff garbage")
    _, heard = cluster.discovery()
    cluster.announcer().announce(WRITER)
    settled(heard, WRITER)
    assert len([record for record in caplog.records if "left out of discovery" in record.message]) == 1
    with pytest.raises(DiscoveryError, match="put by hand"):
        cluster.announcer().announce(READER)
    cluster.put(READER, encode(READER))
    settled(heard, WRITER, READER)


def test_closing_what_speaks_to_etcd_leaves_no_thread_behind(cluster: Cluster) -> None:
    cluster.server.launch()
    before = set(threading.enumerate())
    announcer = cluster.announcer()
    announcer.announce(READER)
    discovery, heard = cluster.discovery()
    settled(heard, READER)
    assert set(threading.enumerate()) > before
    discovery.close()
    announcer.withdraw()
    assert set(threading.enumerate()) <= before
