from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from mishards.discovery.api import Announcer, Discovery, NodeRecord
from mishards.discovery.record import encode
from mishards.testing.discovery import (
    AnnouncerSuite,
    AnnouncingBackend,
    DiscoverySuite,
    LosableBackend,
    LossSuite,
    MalformedSuite,
    SpoilableBackend,
)
from mishards_plugins.discovery.file import FileOptions, FilePlugin, entry_name


class Folder(AnnouncingBackend, LosableBackend, SpoilableBackend):
    """The folder, written to by hand: an entry and a lock on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._locks: dict[Path, int] = {}
        path.mkdir()

    @property
    def uri(self) -> str:
        return f"file://{self._path}?poll_ms=5"

    def discovery(self) -> Discovery:
        return FilePlugin().discovery(self.uri)

    def announcer(self) -> Announcer:
        return FilePlugin().announcer(self.uri)

    def publish(self, nodes: list[NodeRecord]) -> None:
        wanted = {self._path / entry_name(node.name): encode(node) for node in nodes}
        for path in set(self._locks) - set(wanted):
            os.close(self._locks.pop(path))
        for path, raw in wanted.items():
            self.put(path, raw)

    def put(self, path: Path, raw: bytes) -> None:
        if path in self._locks:
            return
        fresh = path.with_suffix(".new")
        fresh.write_bytes(raw)
        descriptor = os.open(fresh, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fresh.replace(path)
        self._locks[path] = descriptor

    def spoil(self) -> None:
        self.put(self._path / "bad.json", b'{"name": "bad"')
        self.put(self._path / "worse.json", b'{"name": "worse", "role": "king", "address": "h:1"}')
        (self._path / "dead.json").write_bytes(b'{"name": "dead", "role": "readonly", "address": "h:1"}')
        (self._path / "directory.json").mkdir()

    def lose(self) -> None:
        self._path.rename(self._path.with_name("away"))

    def restore(self) -> None:
        self._path.with_name("away").rename(self._path)

    def close(self) -> None:
        for descriptor in self._locks.values():
            os.close(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "nodes")


class TestFileDiscovery(DiscoverySuite, LossSuite, MalformedSuite):
    @pytest.fixture
    def backend(self, folder: Folder) -> Folder:
        return folder


class TestFileAnnouncer(AnnouncerSuite):
    @pytest.fixture
    def backend(self, folder: Folder) -> Folder:
        return folder


def test_the_default_pace_is_within_200_milliseconds() -> None:
    assert FileOptions(Path("/data")).poll_s <= 0.2
