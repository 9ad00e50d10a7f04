"""The fakes are held to the same clauses as what they stand in for."""

from __future__ import annotations

import pytest

from mishards.discovery.api import Announcer, Discovery, NodeRecord
from mishards.testing.discovery import AnnouncerSuite, AnnouncingBackend, DiscoverySuite, LosableBackend, LossSuite
from mishards.testing.memory_discovery import MemoryBackend


class Memory(AnnouncingBackend, LosableBackend):
    def __init__(self) -> None:
        self._backend = MemoryBackend()

    def discovery(self) -> Discovery:
        return self._backend.discovery()

    def announcer(self) -> Announcer:
        return self._backend.announcer()

    def publish(self, nodes: list[NodeRecord]) -> None:
        self._backend.publish(*nodes)

    def lose(self) -> None:
        self._backend.lose()

    def restore(self) -> None:
        self._backend.restore()


class TestMemoryDiscovery(DiscoverySuite, LossSuite):
    @pytest.fixture
    def backend(self) -> Memory:
        return Memory()


class TestMemoryAnnouncer(AnnouncerSuite):
    @pytest.fixture
    def backend(self) -> Memory:
        return Memory()
