"""A stranger's package, on the path and not installed, is found, chosen and held to the same suite as ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.assembly import routing_for
from mishards.discovery.api import Discovery, NodeRecord
from mishards.discovery.select import announcer_for, discovery_for
from mishards.plugins import installed
from mishards.query.options import RoutingOptions
from mishards.routing.api import Owner, Placeable
from mishards.testing.discovery import DiscoverySuite, LosableBackend, LossSuite, MalformedSuite, SpoilableBackend

FOLDER = Path(__file__).parents[1] / "third_party"


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [name for name in sys.modules if name.startswith("stranger_")]:
        del sys.modules[name]


class TextFile(LosableBackend, SpoilableBackend):
    def __init__(self, path: Path) -> None:
        self._path = path

    def discovery(self) -> Discovery:
        return discovery_for(f"lines://{self._path}")

    def publish(self, nodes: list[NodeRecord]) -> None:
        lines = [f"{node.name} {node.role.value} {node.address}\n" for node in nodes]
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(lines), encoding="utf-8")
        fresh.replace(self._path)

    def spoil(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write("half a line\nname king h:1\n")

    def lose(self) -> None:
        self._path.rename(self._path.with_suffix(".away"))

    def restore(self) -> None:
        self._path.with_suffix(".away").rename(self._path)

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        return frozenset(NodeRecord(node.name, node.role, node.address) for node in nodes)


class TestStrangersDiscovery(DiscoverySuite, LossSuite, MalformedSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> TextFile:
        return TextFile(tmp_path / "nodes")


def test_a_discovery_without_an_announcer_says_so_by_its_type(tmp_path: Path) -> None:
    assert announcer_for(f"lines://{tmp_path}/nodes") is None


def test_a_strangers_routing_is_chosen_by_its_name() -> None:
    routing = routing_for(RoutingOptions(plugin="first"))
    assert routing.assign([Placeable("1")], [Owner("b"), Owner("a")], 1) == {"1": ("a",)}


def test_it_is_listed_with_the_package_it_came_with() -> None:
    listed = {(plugin.name, plugin.distribution, plugin.problem) for plugin in installed()}
    assert {("lines", "stranger 1.0", ""), ("first", "stranger 1.0", "")} <= listed
