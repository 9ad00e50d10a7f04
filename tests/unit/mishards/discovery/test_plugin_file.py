from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mishards.discovery.api import NodeRecord, NodeRole
from mishards.discovery.select import announcer_for, discovery_for
from mishards.errors import DiscoveryError, PluginError
from mishards.testing.discovery import Recorder
from mishards.testing.waiting import eventually
from mishards_plugins.discovery.file import entry_name

ANNOUNCE = """
import sys, time
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.discovery.select import announcer_for
announcer = announcer_for(sys.argv[1])
announcer.announce(NodeRecord(sys.argv[2], NodeRole.READONLY, "127.0.0.1:1"))
print("announced", flush=True)
time.sleep(60)
"""


def announcing_process(uri: str, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, uri, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "announced\n"
    return process


def test_a_killed_process_is_known_to_be_dead_and_its_name_can_be_taken(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/nodes?poll_ms=5"
    process, heard = announcing_process(uri, "a"), Recorder()
    discovery = discovery_for(uri)
    discovery.open(heard)
    assert heard.last is not None
    assert {node.name for node in heard.last} == {"a"}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    eventually(lambda: heard.last == frozenset())
    announcer = announcer_for(uri)
    assert announcer is not None
    record = NodeRecord("a", NodeRole.READONLY, "127.0.0.1:2")
    announcer.announce(record)
    eventually(lambda: heard.last == frozenset({record}))
    announcer.withdraw()
    discovery.close()


def test_a_node_replacing_its_record_over_and_over_is_never_seen_dead(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}?poll_ms=1"
    announcer, heard = announcer_for(uri), Recorder()
    assert announcer is not None
    announcer.announce(NodeRecord("a", NodeRole.READONLY, "h:1"))
    discovery = discovery_for(uri)
    discovery.open(heard)
    for port in range(2, 200):
        announcer.announce(NodeRecord("a", NodeRole.READONLY, f"h:{port}"))
    eventually(lambda: heard.last == frozenset({NodeRecord("a", NodeRole.READONLY, "h:199")}))
    discovery.close()
    announcer.withdraw()
    assert frozenset() not in heard.sets


def test_an_announcer_holds_one_name(tmp_path: Path) -> None:
    announcer = announcer_for(f"file://{tmp_path}")
    assert announcer is not None
    announcer.announce(NodeRecord("a", NodeRole.READONLY, "h:1"))
    with pytest.raises(DiscoveryError, match="cannot also announce b"):
        announcer.announce(NodeRecord("b", NodeRole.READONLY, "h:1"))
    announcer.withdraw()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    announcer = announcer_for(f"file://{tmp_path}/file")
    assert announcer is not None
    with pytest.raises(DiscoveryError, match="cannot announce a in"):
        announcer.announce(NodeRecord("a", NodeRole.READONLY, "h:1"))


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    announcer = announcer_for(f"file://{tmp_path}")
    assert announcer is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    for port in range(1, 20):
        announcer.announce(NodeRecord("a", NodeRole.READONLY, f"h:{port}"))
    announcer.withdraw()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_names_become_file_names_of_their_own() -> None:
    names = ["a", "a/b", "../a", "[::1]:1", "a b", "é", ".."]
    entries = [entry_name(name) for name in names]
    assert len(set(entries)) == len(names)
    assert all("/" not in entry and not entry.startswith("..j") for entry in entries)


@pytest.mark.parametrize(
    "uri", ["file://", "file://host/x", "file:///x?poll=1", "file:///x?poll_ms=a", "file:///x?poll_ms=0"]
)
def test_a_file_uri_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(PluginError):
        discovery_for(uri)
