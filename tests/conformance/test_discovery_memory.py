"""The fakes are held to the same clauses as what they stand in for."""

from __future__ import annotations

import pytest

from mishards.discovery.api import Announcer, Discovery, NodeRecord
from mishards.testing.discovery import AnnouncerSuite, AnnouncingBackend, DiscoverySuite
from mishards.testing.memory_discovery import MemoryBackend


class Memory(AnnouncingBackend):
    def __init__(self) -> None:
        self._backend = MemoryBackend()

    def discovery(self) -> Discovery:
        return self._backend.discovery()

    def announcer(self) -> Announcer:
        return self._backend.announcer()

    def publish(self, nodes: list[NodeRecord]) -> None:
        self._backend.publish(*nodes)

    def lose(self) -> bool:
        self._backend.lose()
        return True

    def restore(self) -> None:
        self._backend.restore()


class TestMemoryDiscovery(DiscoverySuite):
    @pytest.fixture
    def backend(self) -> Memory:
        return Memory()


class TestMemoryAnnouncer(AnnouncerSuite):
    @pytest.fixture
    def backend(self) -> Memory:
        return Memory()
