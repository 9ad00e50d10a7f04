from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from harness.etcd import Etcd
from mishards.discovery.api import Announcer, Discovery, NodeRecord
from mishards.discovery.record import encode
from mishards.errors import PluginError
from mishards.testing.discovery import (
    AnnouncerSuite,
    AnnouncingBackend,
    DiscoverySuite,
    LosableBackend,
    LossSuite,
    MalformedSuite,
    SpoilableBackend,
)

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install 'mishards[etcd]'")

from mishards_plugins.discovery.etcd import plugin  # noqa: E402 - needs httpx
from mishards_plugins.discovery.etcd_gateway import EtcdOptions, parse  # noqa: E402 - needs httpx

_numbers = itertools.count()


class Prefix(AnnouncingBackend, LosableBackend, SpoilableBackend):
    """A prefix of a real server, changed by requests of its own; losing it kills the server."""

    def __init__(self, server: Etcd) -> None:
        self._server = server
        self._prefix = f"/clusters/n{next(_numbers)}"
        self._there: dict[str, bytes] = {}

    @property
    def uri(self) -> str:
        return f"etcd://127.0.0.1:{self._server.port}{self._prefix}?ttl_s=2"

    def discovery(self) -> Discovery:
        return plugin.discovery(self.uri)

    def announcer(self) -> Announcer:
        return plugin.announcer(self.uri)

    def publish(self, nodes: list[NodeRecord]) -> None:
        wanted = {node.name: encode(node) for node in nodes}
        changes: list[Any] = [
            {"request_delete_range": {"key": self._key(name)}} for name in set(self._there) - set(wanted)
        ]
        changes += [self._put(name, raw) for name, raw in wanted.items() if name not in self._there]
        if changes:
            self._post("kv/txn", {"success": changes})
        self._there = wanted

    def spoil(self) -> None:
        record = b'{"name": "%s", "role": "%s", "address": "h:1"}'
        entries = {"empty": b"", "bad": b"\xff", "king": record % (b"king", b"king")}
        entries["alias"] = record % (b"reader", b"readonly")
        self._post("kv/txn", {"success": [self._put(name, raw) for name, raw in entries.items()]})

    def lose(self) -> None:
        self._server.kill()

    def restore(self) -> None:
        self._server.launch()

    def _key(self, name: str) -> str:
        return base64.b64encode(f"{self._prefix}/{name}".encode()).decode()

    def _put(self, name: str, raw: bytes) -> Any:
        return {"request_put": {"key": self._key(name), "value": base64.b64encode(raw).decode()}}

    def _post(self, method: str, body: Any) -> None:
        httpx.post(f"{self._server.url}/v3/{method}", json=body).raise_for_status()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    if missing := Etcd.missing():
        pytest.skip(missing)
    with Etcd(tmp_path_factory.mktemp("etcd")) as server:
        server.launch()
        yield server


class Given:
    """Gives the suites the backend of this module."""

    @pytest.fixture
    def backend(self, server: Etcd) -> Prefix:
        return Prefix(server)


class TestEtcdDiscovery(Given, DiscoverySuite, LossSuite, MalformedSuite):
    pass


class TestEtcdAnnouncer(Given, AnnouncerSuite):
    pass


def test_the_address_of_etcd_has_a_default_port_and_a_time_to_live() -> None:
    options = parse("etcd://e1,[fd00::2]:2400/mishards/prod/?ttl_s=7")
    assert options == EtcdOptions(("http://e1:2379", "http://[fd00::2]:2400"), "/mishards/prod", 7)


@pytest.mark.parametrize(
    "uri",
    [
        "etcd://h:1",
        "etcd:///p",
        "etcd://h:x/p",
        "etcd://h,,g/p",
        "etcd://h/p?ttl_s=1.5",
        "etcd://h/p?ttl_s=0",
        "etcd://h/p?ttl=4",
    ],
)
def test_an_address_of_etcd_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(PluginError, match="etcd://"):
        parse(uri)
