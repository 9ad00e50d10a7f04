from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from harness.processes import server_folder
from harness.zookeeper import ZooKeeper
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

kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'mishards[zookeeper]'")

from mishards_plugins.discovery.zookeeper import plugin  # noqa: E402 - needs kazoo
from mishards_plugins.discovery.zookeeper_session import ZooKeeperOptions, entry_name, parse  # noqa: E402 - needs kazoo

_numbers = itertools.count()


class Path(AnnouncingBackend, LosableBackend, SpoilableBackend):
    """A path of a real server, changed by a client of its own; losing it kills the server."""

    def __init__(self, server: ZooKeeper) -> None:
        self._server = server
        self._path = f"/clusters/n{next(_numbers)}"
        self._client = kazoo.KazooClient(server.address, timeout=10)
        self._client.start(timeout=20)
        self._client.ensure_path(self._path)

    @property
    def uri(self) -> str:
        return f"zookeeper://{self._server.address}{self._path}?session_s=1"

    def discovery(self) -> Discovery:
        return plugin.discovery(self.uri)

    def announcer(self) -> Announcer:
        return plugin.announcer(self.uri)

    def publish(self, nodes: list[NodeRecord]) -> None:
        wanted = {entry_name(node.name): encode(node) for node in nodes}
        there = set(self._client.get_children(self._path))
        with self._client.transaction() as change:
            for name in there - set(wanted):
                change.delete(f"{self._path}/{name}")
            for name in set(wanted) - there:
                change.create(f"{self._path}/{name}", wanted[name])

    def spoil(self) -> None:
        record = b'{"name": "%s", "role": "%s", "address": "h:1"}'
        entries = {"empty": b"", "bad": b'{"name": "bad"', "king": record % (b"king", b"king")}
        entries["alias"] = record % (b"reader", b"readonly")
        for name, raw in entries.items():
            self._client.create(f"{self._path}/{name}", raw)

    def lose(self) -> None:
        self._server.kill()

    def restore(self) -> None:
        self._server.launch()

    def close(self) -> None:
        self._client.stop()
        self._client.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    if missing := ZooKeeper.missing():
        pytest.skip(missing)
    with server_folder("zookeeper") as folder, ZooKeeper(folder) as server:
        server.launch()
        yield server


class Given:
    """Gives the suites the backend of this module."""

    @pytest.fixture
    def backend(self, server: ZooKeeper) -> Iterator[Path]:
        path = Path(server)
        yield path
        path.close()


class TestZooKeeperDiscovery(Given, DiscoverySuite, LossSuite, MalformedSuite):
    pass


class TestZooKeeperAnnouncer(Given, AnnouncerSuite):
    pass


def test_the_address_has_a_default_port_and_a_session_time() -> None:
    options = parse("zookeeper://zk1,[fd00::2]:2182/mishards/prod?session_s=2.5")
    assert options == ZooKeeperOptions("zk1:2181,[fd00::2]:2182", "/mishards/prod", 2.5)


@pytest.mark.parametrize(
    "uri",
    [
        "zookeeper://h:1",
        "zookeeper:///path",
        "zookeeper://h:x/path",
        "zookeeper://h,,g/path",
        "zookeeper://h/a//b",
        "zookeeper://h/path?session_s=soon",
        "zookeeper://h/path?session_s=0",
        "zookeeper://h/path?sessions=4",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(PluginError, match="zookeeper://"):
        parse(uri)


@pytest.mark.parametrize(("name", "entry"), [("n-1.example", "n-1.example"), ("a/b", "a%2Fb"), ("..", "%2E%2E")])
def test_any_name_makes_an_entry(name: str, entry: str) -> None:
    assert entry_name(name) == entry
