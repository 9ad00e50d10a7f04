"""The electors of servers: ZooKeeper and etcd as they are, a double of Kubernetes; every candidate behind a proxy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from harness.etcd import Etcd
from harness.lease_double import LeaseDouble
from harness.processes import server_folder
from harness.tcp_proxy import TcpProxy
from harness.zookeeper import ZooKeeper
from mishards.election.api import Candidate, ElectionOptions, ElectionPlugin, Elector
from mishards.election.select import elector_for
from mishards.errors import ElectionError, PluginError
from mishards.testing.election import LONG_S, ElectionBackend, ElectionSuite, candidate, elected

pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")
pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[etcd]'")

from mishards_plugins.election import etcd, kubernetes, zookeeper

PLACE = "{address}/elections/n{number}"

_numbers = itertools.count()


class Proxied(ElectionBackend):
    """A place of its own on a server; each elector reaches it through a proxy of its own."""

    def __init__(self, plugin: ElectionPlugin, server: str, form: str) -> None:
        """``form`` is the URI, with ``{address}``, ``{number}`` and ``{lease_s}`` to fill in."""
        self._plugin, self._server, self._form = plugin, server, form
        self._number = next(_numbers)
        self._made: dict[Elector, TcpProxy] = {}

    def elector(self, candidate: Candidate, lease_s: float = LONG_S) -> Elector:
        proxy = TcpProxy(self._server)
        uri = self._form.format(address=proxy.address, number=self._number, lease_s=lease_s)
        elector = self._plugin.elector(uri, candidate, ElectionOptions(lease_s, renew_s=0.2))
        self._made[elector] = proxy
        return elector

    def cut_off(self, elector: Elector) -> None:
        self._made[elector].freeze()

    def reconnect(self, elector: Elector) -> None:
        self._made[elector].heal()

    def close(self) -> None:
        for elector, proxy in self._made.items():
            proxy.heal()
            elector.close()
            proxy.close()


@pytest.fixture(scope="module")
def zookeeper_server() -> Iterator[ZooKeeper]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with server_folder("zookeeper") as folder, ZooKeeper(folder) as server:
        server.launch()
        yield server


class TestZooKeeper(ElectionSuite):
    @pytest.fixture
    def backend(self, zookeeper_server: ZooKeeper) -> Iterator[Proxied]:
        made = Proxied(zookeeper.plugin, zookeeper_server.address, f"zookeeper://{PLACE}?session_s={{lease_s}}")
        yield made
        made.close()


@pytest.fixture(scope="module")
def etcd_server() -> Iterator[Etcd]:
    if missing := Etcd.missing():
        pytest.skip(missing)
    with server_folder("etcd") as folder, Etcd(folder) as server:
        server.launch()
        yield server


class TestEtcd(ElectionSuite):
    @pytest.fixture
    def backend(self, etcd_server: Etcd) -> Iterator[Proxied]:
        made = Proxied(etcd.plugin, f"127.0.0.1:{etcd_server.port}", f"etcd://{PLACE}")
        yield made
        made.close()


class TestKubernetes(ElectionSuite):
    @pytest.fixture
    def double(self) -> Iterator[LeaseDouble]:
        with LeaseDouble() as double:
            yield double

    @pytest.fixture
    def backend(self, double: LeaseDouble) -> Iterator[Proxied]:
        form = "kubernetes://{address}/production?tls=off&lease=n{number}"
        made = Proxied(kubernetes.plugin, double.address, form)
        yield made
        made.close()

    def test_the_lease_tells_people_who_leads_and_how_often_that_changed(
        self, backend: Proxied, double: LeaseDouble
    ) -> None:
        for number in (1, 2):
            leadership = elected(backend.elector(candidate(number)))
            (lease,) = double.leases.values()
            assert f'"node-{number}"' in lease["spec"]["holderIdentity"]
            assert lease["spec"]["leaseTransitions"] == number
            leadership.resign()
        (lease,) = double.leases.values()
        assert not lease["spec"]["holderIdentity"]

    def test_a_server_that_refuses_is_no_leader_and_says_why(self, backend: Proxied, double: LeaseDouble) -> None:
        from harness.http_double import Reply

        double.failure = Reply(403, {"kind": "Status", "message": "no rights to leases"})
        with pytest.raises(ElectionError, match="no rights to leases"):
            backend.elector(candidate(1)).attempt()


@pytest.mark.parametrize("uri", ["zookeeper://h", "etcd://h", "kubernetes://h/a/b", "nothing://h", "word"])
def test_an_address_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(PluginError):
        elector_for(uri, "sqlite:////nowhere", candidate(1), ElectionOptions())
