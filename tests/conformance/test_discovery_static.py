from __future__ import annotations

import pytest

from mishards.discovery.api import Discovery, NodeRecord, NodeRole
from mishards.testing.discovery import Backend, DiscoverySuite
from mishards_plugins.discovery.static import Host, StaticDiscovery, StaticOptions


class FixedNames(Backend):
    """Host names that resolve to whatever was published; names and zones do not travel by DNS."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {"writer.test": [], "reader.test": []}

    def discovery(self) -> Discovery:
        hosts = (
            Host("writer.test", 19530, NodeRole.WRITABLE, 1.0),
            Host("reader.test", 19530, NodeRole.READONLY, 2.5),
        )
        return StaticDiscovery(StaticOptions(hosts, resolve_s=0.02), lambda name: self.addresses[name])

    def publish(self, nodes: list[NodeRecord]) -> None:
        present = {node.name for node in nodes}
        for name in ("writer", "reader"):
            self.addresses[f"{name}.test"] = ["10.0.0.9"] if name in present else ["10.0.0.7", "10.0.0.8"]

    def expected(self, nodes: list[NodeRecord]) -> frozenset[NodeRecord]:
        present = {node.name for node in nodes}
        found = set()
        for name, role, weight in (("writer", NodeRole.WRITABLE, 1.0), ("reader", NodeRole.READONLY, 2.5)):
            if name in present:
                found.add(NodeRecord(f"{name}.test:19530", role, "10.0.0.9:19530", weight))
            else:
                addresses = [f"10.0.0.{last}:19530" for last in (7, 8)]
                found |= {NodeRecord(address, role, address, weight) for address in addresses}
        return frozenset(found)


class TestStaticDiscovery(DiscoverySuite):
    @pytest.fixture
    def backend(self) -> Backend:
        return FixedNames()
