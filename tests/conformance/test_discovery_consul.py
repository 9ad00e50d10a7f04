"""Against a double of a Consul agent: no Consul is to be had here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.consul_double import NO_LEADER, ConsulDouble
from harness.http_double import Reply
from harness.tcp_proxy import TcpProxy
from harness.waiting import eventually
from mishards.discovery.api import Announcer, Discovery, NodeRecord, NodeRole
from mishards.errors import DiscoveryError, PluginError
from mishards.testing.discovery import (
    READER,
    WRITER,
    AnnouncerSuite,
    AnnouncingBackend,
    DiscoverySuite,
    LosableBackend,
    LossSuite,
    MalformedSuite,
    Recorder,
    SpoilableBackend,
)

pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[consul]'")

from mishards_plugins.discovery.consul import following, plugin, registration
from mishards_plugins.discovery.consul_options import ConsulOptions, parse
from mishards_plugins.discovery.security import Secret, Tls

WAIT_S = 30.0
OPTIONS = ConsulOptions((), "milvus", ttl_s=120)


class Service(AnnouncingBackend, LosableBackend, SpoilableBackend):
    """A service at a double, changed in it; losing it loses the leader."""

    def __init__(self, double: ConsulDouble) -> None:
        self.double = double
        self._there: list[dict[str, Any]] = []

    @property
    def uri(self) -> str:
        return f"consul://{self.double.address}/milvus?ttl_s=3&wait_s=1"

    def discovery(self) -> Discovery:
        return plugin.discovery(self.uri)

    def announcer(self) -> Announcer:
        return plugin.announcer(self.uri)

    def publish(self, nodes: list[NodeRecord]) -> None:
        self._there = [instance(node) for node in nodes]
        self.double.register(*self._there)

    def spoil(self) -> None:
        good = instance(WRITER)
        king = {**good, "ID": "king", "Meta": {"role": "king"}}
        bare = {**good, "ID": "bare", "Meta": None}
        portless = {**good, "ID": "portless", "Port": 0}
        self.double.register(*self._there, king, bare, portless)

    def lose(self) -> None:
        self.double.fail(NO_LEADER)

    def restore(self) -> None:
        self.double.fail(None)


def instance(node: NodeRecord) -> dict[str, Any]:
    return {key: value for key, value in registration(node, "", OPTIONS).items() if key != "Check"}


@pytest.fixture
def backend() -> Iterator[Service]:
    with ConsulDouble() as double:
        yield Service(double)


class Given:
    """Gives the suites the backend of this module."""

    @pytest.fixture
    def backend(self) -> Iterator[Service]:
        with ConsulDouble() as double:
            yield Service(double)


class TestConsulDiscovery(Given, DiscoverySuite, LossSuite, MalformedSuite):
    pass


class TestConsulAnnouncer(Given, AnnouncerSuite):
    pass


@pytest.fixture
def heard(backend: Service) -> Iterator[Recorder]:
    backend.publish([WRITER])
    discovery, heard = backend.discovery(), Recorder()
    discovery.open(heard)
    yield heard
    discovery.close()


def settled(heard: Recorder, *nodes: NodeRecord) -> None:
    eventually(lambda: heard.last == frozenset(nodes), WAIT_S, lambda: f"{nodes} are reported; last was {heard.last}")


def test_an_index_that_goes_backwards_begins_anew(backend: Service, heard: Recorder) -> None:
    backend.double.go_back(3)
    asked = backend.double.requests
    eventually(lambda: any(request.query["index"] == "0" for request in list(asked)[1:]), WAIT_S, "asked anew")
    backend.publish([WRITER, READER])
    settled(heard, WRITER, READER)


@pytest.mark.parametrize(("index", "answered", "then"), [(0, 7, 7), (7, 7, 7), (7, 9, 9), (7, 6, 0), (0, 0, 1)])
def test_the_index_to_ask_with_follows_the_answers(index: int, answered: int, then: int) -> None:
    assert following(index, answered) == then


@pytest.mark.parametrize(
    "failure",
    [Reply(500, "rpc error"), Reply(200, "<html>"), Reply(200, []), Reply(200, [{}], {"X-Consul-Index": "9"})],
    ids=["error", "no json", "no index", "no instances"],
)
def test_an_answer_of_something_else_is_a_loss_and_no_set(backend: Service, heard: Recorder, failure: Reply) -> None:
    backend.double.fail(failure)
    eventually(lambda: heard.losses, WAIT_S, "the loss is reported")
    assert heard.sets == [frozenset({WRITER})]
    backend.double.fail(None)
    eventually(lambda: len(heard.sets) > 1, WAIT_S, "the agent is back")
    assert heard.last == frozenset({WRITER})


def test_a_frozen_agent_is_lost_after_the_wait_and_does_not_hold_up_close(backend: Service) -> None:
    backend.publish([WRITER])
    with TcpProxy(backend.double.address) as proxy:
        discovery, heard = plugin.discovery(f"consul://{proxy.address}/milvus?wait_s=0.2"), Recorder()
        discovery.open(heard)
        proxy.freeze()
        eventually(lambda: heard.losses, WAIT_S, "the silence is reported")
        discovery.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "discovery-consul-watch"]
        assert heard.sets == [frozenset({WRITER})]
        proxy.heal()


def test_another_agent_is_read_where_the_first_is_away(backend: Service) -> None:
    backend.publish([READER])
    with ConsulDouble() as away:
        uri = f"consul://{away.address},{backend.double.address}/milvus"
    discovery, heard = plugin.discovery(uri), Recorder()
    discovery.open(heard)
    assert heard.last == frozenset({READER})
    assert not heard.losses
    discovery.close()


def test_a_node_that_the_agent_forgot_registers_again(backend: Service) -> None:
    announcer = backend.announcer()
    announcer.announce(READER)
    backend.double.forget()
    eventually(lambda: READER.name in backend.double.instances(), WAIT_S, "it is registered again")
    announcer.withdraw()
    assert not backend.double.instances()


def test_a_node_whose_process_fell_silent_is_no_longer_reported_and_its_name_is_free(backend: Service) -> None:
    with TcpProxy(backend.double.address) as proxy:
        silent = plugin.announcer(f"consul://{proxy.address}/milvus?ttl_s=1")
        silent.announce(READER)
        discovery, heard = backend.discovery(), Recorder()
        discovery.open(heard)
        settled(heard, READER)
        proxy.refuse()
        proxy.reset()
        settled(heard)
        again = backend.announcer()
        again.announce(READER)
        settled(heard, READER)
        again.withdraw()
        discovery.close()
        silent.withdraw()  # says that the registration is left to expire


def test_instances_are_selected_by_tag_and_datacenter(backend: Service) -> None:
    backend.publish([WRITER])
    tagged = plugin.announcer(f"{backend.uri}&tag=blue")
    tagged.announce(READER)
    heard = Recorder()
    discovery = plugin.discovery(f"{backend.uri}&tag=blue&dc=dc1")
    discovery.open(heard)
    assert heard.last == frozenset({READER})
    discovery.close()
    tagged.withdraw()
    elsewhere, lost = plugin.discovery(f"{backend.uri}&dc=dc2"), Recorder()
    elsewhere.open(lost)
    assert "No path to datacenter" in str(lost.losses[0])
    elsewhere.close()


def test_a_token_is_read_from_its_file_for_every_request_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, secret = tmp_path / "token", "s3cr3t"
    file.write_text("wrong-one\n")
    with ConsulDouble(token=secret) as double:
        uri = f"consul://{double.address}/milvus?wait_s=1&token_file={file}"
        announcer = plugin.announcer(uri)
        with pytest.raises(DiscoveryError, match="403 Permission denied"):
            announcer.announce(READER)
        discovery, heard = plugin.discovery(uri), Recorder()
        discovery.open(heard)
        assert heard.losses
        file.write_text(secret)
        announcer.announce(READER)
        settled(heard, READER)
        announcer.withdraw()
        discovery.close()
    assert not [text for text in (caplog.text, str(heard.losses)) if secret in text or "wrong-one" in text]


def test_an_instance_without_an_address_has_its_machines(backend: Service) -> None:
    backend.double.register({**instance(READER), "Address": "", "Meta": {"role": "readonly"}})
    discovery, heard = backend.discovery(), Recorder()
    discovery.open(heard)
    assert heard.last == frozenset({NodeRecord("reader", NodeRole.READONLY, "10.9.8.7:19530")})
    discovery.close()


def test_an_agent_that_is_away_or_no_agent_cannot_be_announced_at(backend: Service) -> None:
    announcer = backend.announcer()
    backend.double.fail(Reply(200, {"not": "a list"}))
    with pytest.raises(DiscoveryError, match="answers as no Consul"):
        announcer.announce(READER)
    backend.double.close()
    with pytest.raises(DiscoveryError, match="does not do GET"):
        announcer.announce(READER)
    with pytest.raises(DiscoveryError, match="no HOST:PORT"):
        announcer.announce(NodeRecord("n", NodeRole.READONLY, "h:port"))


def test_the_address_of_consul_says_everything(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    options = parse(f"consul://a,[fd00::2]:9/m?ttl_s=3&wait_s=2.5&dc=d&tag=t&tls=on&token_file={tmp_path}/t")
    expected = ConsulOptions(
        ("https://a:8500", "https://[fd00::2]:9"), "m", 3, 2.5, "d", "t", Tls(), Secret(file=f"{tmp_path}/t")
    )
    assert options == expected
    assert options.selection() == {"passing": "true", "dc": "d", "tag": "t"}


@pytest.mark.parametrize(
    "uri",
    [
        "consul:///milvus",
        "consul://h",
        "consul://h/a/b",
        "consul://h:x/a",
        "consul://h/a?ttl_s=0",
        "consul://h/a?wait_s=soon",
        "consul://h/a?key=k",
        "consul://h/a?token_file=/no/such/file",
        "consul://h/a?token_file=/f&token_env=V",
        "consul://h/a?wait=4",
    ],
)
def test_an_address_of_consul_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(PluginError, match="consul://"):
        parse(uri)
