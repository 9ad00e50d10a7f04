from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.processes import server_folder
from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper, ensemble
from mishards.discovery.api import NodeState
from mishards.discovery.record import encode
from mishards.errors import DiscoveryError
from mishards.testing.discovery import READER, WRITER, Recorder

kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")

from mishards_plugins.discovery.kept_entry import KeptAnnouncer  # noqa: E402 - after what needs kazoo
from mishards_plugins.discovery.zookeeper import ZooKeeperDiscovery, ZooKeeperEntry, plugin  # noqa: E402 - needs kazoo

WAIT_S = 30.0
PATH = "/mishards"


class Cluster:
    """Servers, and the plugin's objects on them; all are closed after the test."""

    def __init__(self, servers: list[ZooKeeper], closing: ExitStack) -> None:
        self.servers = servers
        self._closing = closing

    @property
    def hosts(self) -> str:
        return ",".join(server.address for server in self.servers)

    def leader(self) -> ZooKeeper:
        return eventually(lambda: next((s for s in self.servers if s.mode() == "leader"), None), WAIT_S, "a leader")

    def announcer(self, hosts: str = "", session_s: float = 1) -> KeptAnnouncer:
        announcer = plugin.announcer(f"zookeeper://{hosts or self.hosts}{PATH}?session_s={session_s}")
        self._closing.callback(announcer.withdraw)
        return announcer

    def discovery(self, hosts: str = "", session_s: float = 1) -> tuple[ZooKeeperDiscovery, Recorder]:
        discovery = plugin.discovery(f"zookeeper://{hosts or self.hosts}{PATH}?session_s={session_s}")
        self._closing.callback(discovery.close)
        heard = Recorder()
        discovery.open(heard)
        return discovery, heard

    def client(self, client_id: object = None) -> Any:
        client = kazoo.KazooClient(self.hosts, timeout=2, client_id=client_id)
        client.start(timeout=WAIT_S)
        self._closing.callback(client.close)
        self._closing.callback(client.stop)
        return client

    def expire(self, of: KeptAnnouncer | ZooKeeperDiscovery) -> None:
        """End a session behind its owner's back."""
        assert isinstance(of, ZooKeeperDiscovery) or isinstance(of._entry, ZooKeeperEntry)
        session = of._entry.session if isinstance(of, KeptAnnouncer) else of._session
        self.client(client_id=session._client.client_id).stop()


@pytest.fixture
def run() -> Iterator[Callable[..., Cluster]]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with ExitStack() as closing:
        folder: Path = closing.enter_context(server_folder("zookeeper"))

        def start(size: int, *, wait: bool = True) -> Cluster:
            servers = ensemble(folder, size) if size > 1 else [ZooKeeper(folder)]
            for server in servers:
                closing.enter_context(server)
                if wait:
                    server.start()
            if wait:
                eventually(lambda: all(server.mode() for server in servers), WAIT_S, "all servers serve")
            return Cluster(servers, closing)

        yield start


def settled(heard: Recorder, *nodes: object) -> None:
    eventually(lambda: heard.last == frozenset(nodes), WAIT_S, lambda: f"{nodes} are reported; last was {heard.last}")


def test_nodes_stay_while_the_ensemble_changes_its_leader(run: Callable[..., Cluster]) -> None:
    cluster = run(3)
    cluster.announcer(session_s=4).announce(READER)
    _, heard = cluster.discovery(session_s=4)
    settled(heard, READER)
    cluster.leader().kill()
    cluster.leader()
    cluster.announcer(session_s=4).announce(WRITER)
    settled(heard, READER, WRITER)
    assert frozenset() not in heard.sets


def test_the_last_set_stays_while_the_quorum_is_gone_for_longer_than_the_session(run: Callable[..., Cluster]) -> None:
    cluster = run(3)
    announcer = cluster.announcer()
    announcer.announce(READER)
    _, heard = cluster.discovery()
    settled(heard, READER)
    for server in cluster.servers[:2]:
        server.kill()
    eventually(lambda: cluster.servers[2].mode() == "", WAIT_S, "the last server notices")
    eventually(lambda: heard.losses, WAIT_S, "the loss is reported")
    sets = len(heard.sets)
    # Either no connection comes within 5 s, five times the session, or the one that is left breaks at a request.
    with pytest.raises(DiscoveryError, match="ZooKeeper"):
        announcer.announce(replace(READER, state=NodeState.DRAINING))
    assert len(heard.sets) == sets
    for server in cluster.servers[:2]:
        server.start()
    settled(heard, replace(READER, state=NodeState.DRAINING))
    assert frozenset() not in heard.sets


def test_an_entry_is_made_again_when_its_session_has_expired(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    announcer = cluster.announcer()
    announcer.announce(READER)
    discovery, heard = cluster.discovery()
    client = cluster.client()
    path = f"{PATH}/{READER.name}"
    for _ in range(2):
        before = client.get(path)[1].ephemeralOwner
        cluster.expire(announcer)
        eventually(
            lambda before=before: (stat := client.exists(path)) and stat.ephemeralOwner != before, WAIT_S, "a new entry"
        )
    settled(heard, READER)
    cluster.expire(discovery)
    cluster.announcer().announce(WRITER)
    settled(heard, READER, WRITER)


def test_an_entry_that_was_deleted_by_hand_is_made_again(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    cluster.announcer().announce(READER)
    client = cluster.client()
    for _ in range(2):
        client.delete(f"{PATH}/{READER.name}")
        eventually(lambda: client.exists(f"{PATH}/{READER.name}"), WAIT_S, "it is there again")


def test_a_flapping_node_ends_up_as_it_is(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    _, heard = cluster.discovery()
    announcer = cluster.announcer()
    for _ in range(5):
        announcer.announce(READER)
        announcer.withdraw()
    settled(heard)
    announcer.announce(READER)
    settled(heard, READER)
    assert not heard.losses


def test_a_router_may_be_there_before_zookeeper_and_a_node_says_that_it_cannot_register(
    run: Callable[..., Cluster],
) -> None:
    cluster = run(1, wait=False)
    _, heard = cluster.discovery()
    assert heard.losses
    announcer = cluster.announcer()
    with pytest.raises(DiscoveryError, match="no connection to ZooKeeper"):
        announcer.announce(READER)
    cluster.servers[0].launch()
    settled(heard)  # the path does not exist: reached, and no nodes
    announcer.announce(READER)
    settled(heard, READER)


def test_a_restarted_node_takes_its_name_back_from_its_dead_session(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    dead = cluster.client()  # a session of 2 s that nobody ends
    dead.create(f"{PATH}/{READER.name}", encode(READER), ephemeral=True, makepath=True)
    with TcpProxy(cluster.hosts) as proxy:
        announcer = cluster.announcer(proxy.address, session_s=1)
        announcer.announce(WRITER)
        proxy.freeze()  # its process is as good as dead: no farewell
        moved = replace(WRITER, address="10.0.0.9:19530")
        cluster.announcer(session_s=2).announce(moved)
        _, heard = cluster.discovery()
        settled(heard, READER, moved)
        proxy.heal()
        with pytest.raises(DiscoveryError, match=READER.name):
            cluster.announcer(session_s=0.5).announce(READER)
        assert heard.last == frozenset({READER, moved})


def test_a_persistent_entry_made_by_hand_is_left_out_and_said_once(
    run: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    cluster = run(1)
    client = cluster.client()
    client.create(f"{PATH}/{READER.name}", b"\xff garbage", makepath=True)
    _, heard = cluster.discovery()
    cluster.announcer().announce(WRITER)
    settled(heard, WRITER)
    assert len([record for record in caplog.records if "left out of discovery" in record.message]) == 1
    with pytest.raises(DiscoveryError, match="made by hand"):
        cluster.announcer().announce(READER)
    client.set(f"{PATH}/{READER.name}", encode(READER))
    settled(heard, WRITER, READER)


def test_a_server_that_does_not_answer_is_lost_and_does_not_hold_up_close(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    with TcpProxy(cluster.hosts) as proxy:
        discovery, heard = cluster.discovery(proxy.address)
        settled(heard)
        proxy.freeze()
        eventually(lambda: heard.losses, WAIT_S, "the silence is reported")
        thread = discovery._thread
        discovery.close()
        assert thread is not None
        assert not thread.is_alive()
        proxy.heal()


def test_closing_what_speaks_to_zookeeper_leaves_no_thread_behind(run: Callable[..., Cluster]) -> None:
    cluster = run(1)
    before = set(threading.enumerate())
    announcer = cluster.announcer()
    announcer.announce(READER)
    discovery, heard = cluster.discovery()
    settled(heard, READER)
    assert set(threading.enumerate()) > before
    discovery.close()
    announcer.withdraw()
    assert set(threading.enumerate()) <= before
