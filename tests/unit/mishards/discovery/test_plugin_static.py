from __future__ import annotations

import pytest

from mishards.discovery.api import NodeRole
from mishards.discovery.select import announcer_for, discovery_for
from mishards.errors import PluginError
from mishards.testing.discovery import Recorder
from mishards.testing.waiting import eventually
from mishards_plugins.discovery.address import split_address
from mishards_plugins.discovery.static import Host, StaticDiscovery, StaticOptions, parse


def test_a_uri_names_nodes_with_roles_weights_and_default_ports() -> None:
    options = parse("static://?writable=10.0.0.1&readonly=10.0.0.2:1,[::1]:2&weights=10.0.0.2:1=2.5&resolve_s=3")
    assert [(host.written, host.role, host.weight) for host in options.hosts] == [
        ("10.0.0.1:19530", NodeRole.WRITABLE, 1.0),
        ("10.0.0.2:1", NodeRole.READONLY, 2.5),
        ("[::1]:2", NodeRole.READONLY, 1.0),
    ]
    assert options.resolve_s == 3


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("static://", "names no node"),
        ("static://?writeable=h:1", "unknown option writeable; known are readonly"),
        ("static://?writable=h:1&readonly=h:1", "names a node twice"),
        ("static://?writable=h:port", "is no HOST:PORT"),
        ("static://?writable=h:99999", "is no HOST:PORT"),
        ("static://?writable=u@h:1", "is no HOST:PORT"),
        ("static://?writable=h:1&weights=x:1=2", "weights names x:1, which is no node of it"),
        ("static://?writable=h:1&weights=h:1", "expected HOST:PORT=NUMBER"),
        ("static://?writable=h:1&weights=h:1=-1", "expected HOST:PORT=NUMBER"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused(uri: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        discovery_for(uri)


def test_addresses_split_into_host_and_port() -> None:
    assert split_address("[fd00::1]:7") == ("fd00::1", 7)
    assert split_address("node.test") == ("node.test", 19530)


def test_nodes_cannot_announce_themselves_to_a_list() -> None:
    assert announcer_for("static://?writable=h:1") is None


def test_plain_addresses_need_no_thread() -> None:
    heard = Recorder()
    discovery = discovery_for("static://?writable=127.0.0.1:1&readonly=[::1]:2")
    discovery.open(heard)
    discovery.close()
    assert heard.last is not None
    assert {node.name for node in heard.last} == {"127.0.0.1:1", "[::1]:2"}


def test_a_name_that_stops_resolving_keeps_its_address_and_one_that_never_did_stays_a_name() -> None:
    answers = {"once.test": [["10.0.0.5"], OSError("gone")], "never.test": [OSError("unknown")]}

    def resolve(name: str) -> list[str]:
        queue = answers[name]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    hosts = (Host("once.test", 1, NodeRole.READONLY, 1.0), Host("never.test", 2, NodeRole.WRITABLE, 1.0))
    heard = Recorder()
    discovery = StaticDiscovery(StaticOptions(hosts, resolve_s=0.01), resolve)
    discovery.open(heard)
    eventually(lambda: len(answers["once.test"]) == 1)
    discovery.close()
    assert [{(node.name, node.address) for node in found} for found in heard.sets] == [
        {("once.test:1", "10.0.0.5:1"), ("never.test:2", "never.test:2")}
    ]
