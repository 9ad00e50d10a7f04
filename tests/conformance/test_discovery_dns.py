"""The DNS discovery before a real dnsmasq."""

from __future__ import annotations

import math
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.dnsmasq import Dnsmasq
from mishards.discovery.api import Discovery, NodeRecord, NodeRole, NodeState
from mishards.errors import PluginError
from mishards.plugins import load
from mishards.testing.discovery import (
    READER,
    WRITER,
    DiscoverySuite,
    LosableBackend,
    LossSuite,
    MalformedSuite,
    Recorder,
    SpoilableBackend,
)
from mishards.testing.waiting import eventually

pytest.importorskip("dns", reason="dnspython is not installed: pip install 'mishards[dns]'")

import dns.message
import dns.rcode

from mishards_plugins.discovery.dns import DnsOptions, Listing, Round, Service, nodes_by_service, parse, pause_s, plugin

HOSTS = {WRITER.name: "writer.m.test", READER.name: "readers.m.test"}
IPS = {WRITER.name: "10.0.0.1", READER.name: "fd00::2"}
SERVICES = {WRITER.name: "_milvus-rw._tcp.m.test", READER.name: "_milvus._tcp.m.test"}


def by_address(server: Dnsmasq) -> Discovery:
    return plugin.discovery(f"dns://readers.m.test?writable=writer.m.test&server={server.address}&min_s=0.05")


def by_service(server: Dnsmasq) -> Discovery:
    names = "_milvus._tcp.m.test?writable=_milvus-rw._tcp.m.test"
    return plugin.discovery(f"dns+srv://{names}&server={server.address}&min_s=0.05")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Dnsmasq]:
    if missing := Dnsmasq.missing():
        pytest.skip(missing)
    with Dnsmasq(tmp_path) as server:
        server.launch()
        yield server


class Addresses(LosableBackend):
    """The nodes as addresses of two names. Names, weights and zones do not travel."""

    def __init__(self, server: Dnsmasq) -> None:
        self.server = server

    def discovery(self) -> Discovery:
        return by_address(self.server)

    def publish(self, nodes: list[NodeRecord]) -> None:
        self.server.set_hosts({HOSTS[node.name]: [IPS[node.name]] for node in nodes})

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        return frozenset(NodeRecord(node.address, node.role, node.address) for node in nodes)

    def lose(self) -> None:
        self.server.kill()

    def restore(self) -> None:
        self.server.launch()


class Services(Addresses, SpoilableBackend):
    """The nodes as service records of two names."""

    def discovery(self) -> Discovery:
        return by_service(self.server)

    def publish(self, nodes: list[NodeRecord]) -> None:
        super().publish(nodes)
        self.records = {SERVICES[node.name]: [f"{HOSTS[node.name]},19530,0,10"] for node in nodes}
        self.server.set_services(self.records)

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        return frozenset(NodeRecord(f"{HOSTS[node.name]}:19530", node.role, node.address) for node in nodes)

    def spoil(self) -> None:
        bad = ["nobody.m.test,19530,0,10", "writer.m.test,0,0,10"]
        self.server.set_services({**self.records, SERVICES[READER.name]: bad})


class TestDnsDiscoveryByAddress(DiscoverySuite, LossSuite):
    @pytest.fixture
    def backend(self, server: Dnsmasq) -> Addresses:
        return Addresses(server)


class TestDnsDiscoveryByService(DiscoverySuite, LossSuite, MalformedSuite):
    @pytest.fixture
    def backend(self, server: Dnsmasq) -> Services:
        return Services(server)


def test_every_address_of_either_family_is_a_node_and_a_writable_one_is_not_listed_twice(server: Dnsmasq) -> None:
    server.set_hosts({"readers.m.test": ["10.0.0.3", "10.0.0.2", "fd00::2"], "writer.m.test": ["10.0.0.3"]})
    heard = Recorder()
    with closing(by_address(server)) as discovery:
        discovery.open(heard)
    assert heard.last is not None
    assert {node.name: node.role.value for node in heard.last} == {
        "10.0.0.2:19530": "readonly",
        "10.0.0.3:19530": "writable",
        "[fd00::2]:19530": "readonly",
    }


def test_more_addresses_than_a_datagram_holds_are_all_reported(server: Dnsmasq) -> None:
    server.set_hosts({"readers.m.test": [f"10.0.{high}.{low}" for high in range(4) for low in range(100)]})
    heard = Recorder()
    with closing(by_address(server)) as discovery:
        discovery.open(heard)
    assert heard.last is not None
    assert len(heard.last) == 400


@pytest.mark.parametrize("made", [by_address, by_service])
def test_names_without_records_list_no_nodes(server: Dnsmasq, made: Callable[[Dnsmasq], Discovery]) -> None:
    heard = Recorder()
    with closing(made(server)) as discovery:
        discovery.open(heard)
        assert heard.last == frozenset()
        server.set_hosts({"readers.m.test": ["10.0.0.2"]})
        server.set_services({"_milvus._tcp.m.test": ["readers.m.test,19530,0,10"]})
        eventually(lambda: heard.last and len(heard.last) == 1)
        server.set_hosts({})
        server.set_services({})
        eventually(lambda: heard.last == frozenset())


def test_a_server_that_does_not_answer_is_lost_and_close_is_prompt_meanwhile(server: Dnsmasq) -> None:
    server.set_hosts({"readers.m.test": ["10.0.0.2"]})
    discovery, heard = by_address(server), Recorder()
    discovery.open(heard)
    server.pause()
    eventually(lambda: heard.losses)
    discovery.close()
    assert "discovery-dns-poll" not in {thread.name for thread in threading.enumerate()}
    server.resume()
    assert heard.sets == [heard.last]


def test_one_refused_name_loses_the_round(server: Dnsmasq) -> None:
    server.set_hosts({"readers.m.test": ["10.0.0.2"]})
    heard = Recorder()
    with closing(plugin.discovery(f"dns://readers.m.test?writable=w.example&server={server.address}")) as discovery:
        discovery.open(heard)
    assert not heard.sets
    assert "w.example" in str(heard.losses[0])


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR"])
def test_a_server_that_fails_is_lost(code: str) -> None:
    def answer() -> None:
        while not stopped.is_set():
            question, client = failing.recvfrom(4096)
            reply = dns.message.make_response(dns.message.from_wire(question))
            reply.set_rcode(dns.rcode.from_text(code))
            failing.sendto(reply.to_wire(), client)

    stopped, heard = threading.Event(), Recorder()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as failing:
        failing.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"127.0.0.1:{failing.getsockname()[1]}"
        with closing(plugin.discovery(f"dns://nodes.test?server={address}")) as discovery:
            discovery.open(heard)
        stopped.set()
        # One more question, so that the thread sees that it is over.
        failing.sendto(dns.message.make_query("end.test", "A").to_wire(), failing.getsockname())
        thread.join(5)
    assert not heard.sets
    assert code in str(heard.losses[0])


def test_a_second_server_is_asked_when_the_first_is_away(server: Dnsmasq, tmp_path: Path) -> None:
    server.set_hosts({"readers.m.test": ["10.0.0.2"]})
    away, heard = Dnsmasq(tmp_path), Recorder()
    uri = f"dns://readers.m.test:7?server={away.address},{server.address}"
    with closing(plugin.discovery(uri)) as discovery:
        discovery.open(heard)
    assert heard.last == {NodeRecord("10.0.0.2:7", NodeRole.READONLY, "10.0.0.2:7")}


def test_a_node_by_service_keeps_its_name_when_its_address_changes(server: Dnsmasq) -> None:
    server.set_hosts({"a.m.test": ["10.0.0.2"]})
    server.set_services({SERVICES[READER.name]: ["a.m.test,7,0,0"]})
    heard = Recorder()
    with closing(by_service(server)) as discovery:
        discovery.open(heard)
        assert heard.last == {NodeRecord("a.m.test:7", NodeRole.READONLY, "10.0.0.2:7")}
        server.set_hosts({"a.m.test": ["10.0.0.9"]})
        eventually(lambda: heard.last == {NodeRecord("a.m.test:7", NodeRole.READONLY, "10.0.0.9:7")})


def test_weights_and_priorities_of_service_records_reach_the_nodes(server: Dnsmasq) -> None:
    server.set_hosts({f"{name}.m.test": [f"10.0.0.{number}"] for number, name in enumerate("abc", 1)})
    server.set_services({SERVICES[READER.name]: ["a.m.test,1,5,40", "b.m.test,1,5,10", "c.m.test,1,9,20"]})
    heard = Recorder()
    with closing(by_service(server)) as discovery:
        discovery.open(heard)
    assert heard.last is not None
    assert {node.name: (node.weight, node.state) for node in heard.last} == {
        "a.m.test:1": (1.0, NodeState.READY),
        "b.m.test:1": (0.25, NodeState.READY),
        "c.m.test:1": (0.5, NodeState.JOINING),
    }


def test_equal_weights_of_any_size_are_1() -> None:
    for weight in (0, 1, 33, 65535):
        services = [Service(name, 1, "10.0.0.1", 0, weight) for name in "ab"]
        assert {node.weight for node in nodes_by_service(services, NodeRole.READONLY)} == {1.0}


def test_an_answers_ttl_is_read_and_a_name_without_nodes_is_asked_again_at_once(server: Dnsmasq) -> None:
    options = parse(f"dns://readers.m.test?server={server.address}")
    server.set_hosts({"readers.m.test": ["10.0.0.2"]})
    listing, empty = Round(options, threading.Event()), Round(options, threading.Event())
    assert len(listing.nodes(options.listings)) == 1
    assert listing.ttl_s == 1  # as the server was started
    server.set_hosts({})
    assert not empty.nodes(options.listings)
    assert empty.ttl_s == 0


@pytest.mark.parametrize(("ttl_s", "expected"), [(0, 2), (2, 2), (5, 5), (600, 20), (math.inf, 20)])
def test_the_pace_is_the_ttl_within_its_bounds(ttl_s: float, expected: float) -> None:
    assert pause_s(ttl_s, parse("dns://nodes.test?min_s=2&max_s=20")) == expected


def test_a_service_record_that_is_no_node_is_logged_once(server: Dnsmasq, caplog: pytest.LogCaptureFixture) -> None:
    server.set_hosts({"a.m.test": ["10.0.0.2"]})
    server.set_services({SERVICES[READER.name]: ["nobody.m.test,7,0,0", "a.m.test,7,0,0"]})
    heard = Recorder()
    with closing(by_service(server)) as discovery:
        discovery.open(heard)
        server.set_hosts({"a.m.test": ["10.0.0.3"]})
        eventually(lambda: len(heard.sets) == 2)
    assert [record.message for record in caplog.records if "nobody.m.test" in record.message] == [
        "left out of discovery: _milvus._tcp.m.test lists 0 0 7 nobody.m.test., which is no node"
    ]


def test_an_address_in_place_of_a_name_is_not_asked_for() -> None:
    heard = Recorder()
    with closing(plugin.discovery("dns://[fd00::3]:7?writable=10.0.0.1:7&server=127.0.0.1:1")) as discovery:
        discovery.open(heard)
    assert heard.last == {
        NodeRecord("10.0.0.1:7", NodeRole.WRITABLE, "10.0.0.1:7"),
        NodeRecord("[fd00::3]:7", NodeRole.READONLY, "[fd00::3]:7"),
    }


def test_what_was_closed_before_is_not_begun() -> None:
    discovery, heard = plugin.discovery("dns://nodes.test?server=127.0.0.1:1"), Recorder()
    discovery.close()
    discovery.open(heard)
    discovery.close()
    assert not heard.reports


@pytest.mark.parametrize("scheme", ["dns", "dns+srv"])
def test_without_the_library_the_extra_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == "dns" or name.startswith("dns.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "mishards_plugins.discovery.dns")
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(PluginError, match=r"needs the package dns, .*pip install 'mishards\[dns\]'"):
        load("mishards.discovery", scheme)


def test_a_uri_says_names_servers_and_bounds() -> None:
    assert parse("dns://Nodes.test:7?role=writable&server=[::1],10.0.0.1:5353&max_s=9") == DnsOptions(
        (Listing("nodes.test", 7, NodeRole.WRITABLE),), (("::1", 53), ("10.0.0.1", 5353)), 1.0, 9.0
    )
    assert parse("dns+srv://_m._tcp.test?writable=_w._tcp.test").listings == (
        Listing("_w._tcp.test", None, NodeRole.WRITABLE),
        Listing("_m._tcp.test", None, NodeRole.READONLY),
    )


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("dns://", "no HOST:PORT"),
        ("dns://nodes.test/path", "no path"),
        ("dns://nodes.test?tll=3", "unknown option tll"),
        ("dns://nodes.test?role=king", "king"),
        ("dns://nodes.test?server=ns.test", "server is 'ns.test'"),
        ("dns://nodes.test?min_s=40", "min_s and max_s"),
        ("dns://nodes.test?max_s=soon", "soon"),
        ("dns://nodes..test", "empty"),
        ("dns+srv://_m._tcp.test:7", "without a port"),
        ("dns+srv://10.0.0.1", "no name of a service"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused(uri: str, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        plugin.discovery(uri)
