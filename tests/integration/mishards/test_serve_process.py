"""``mishards serve`` as a process of its own, before nodes that this test serves over real gRPC."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.programs import MISHARDS, program
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord, NodeRole
from mishards.discovery.select import announcer_for
from mishards.testing.node import LiteralNode
from mishards.testing.waiting import eventually
from mishards.testing.world import World
from mishards.transport.api import ServerOptions
from mishards.transport.grpcio import GrpcioTransport
from mishards.wire.protos import milvus_pb2 as pb


class ServedNode:
    """A node in this process, served over gRPC on a thread of its own and announced in a folder."""

    def __init__(self, discovery: str) -> None:
        self._discovery = discovery
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = GrpcioTransport().server(LiteralNode(World()), ServerOptions("127.0.0.1:0"))

    def start(self) -> None:
        address = asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        self._announcer = announcer_for(self._discovery)
        assert self._announcer is not None
        self._announcer.announce(NodeRecord("node", NodeRole.WRITABLE, address))

    def close(self) -> None:
        self._announcer.withdraw()  # type: ignore[union-attr]  # start has checked
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    served = ServedNode(f"file://{tmp_path}/nodes")
    yield served
    served.close()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def serve(tmp_path: Path, processes: list[subprocess.Popen[str]], *more: str) -> subprocess.Popen[str]:
    flags = {
        "--name": "router-1",
        "--address": "127.0.0.1:0",
        "--http-address": "127.0.0.1:0",
        "--metadata": f"sqlite:///{tmp_path}/none/meta.sqlite",
        "--discovery": f"file://{tmp_path}/nodes",
    }
    command = [*program(MISHARDS), "serve", *(part for pair in flags.items() for part in pair), *more]
    log = (tmp_path / "router.log").open("w", encoding="utf-8")
    with log:
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True))
    return processes[-1]


def http_address(tmp_path: Path) -> str:
    found: list[str] = []

    def known() -> bool:
        found[:] = re.findall(r"http address=(\S+)", (tmp_path / "router.log").read_text(encoding="utf-8"))
        return bool(found)

    eventually(known, 30)
    return found[0]


def got(address: str, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def version_of(address: str) -> str:
    async def ask() -> str:
        channel = GrpcioTransport().channel(address)
        raw = await channel.call("Cmd", pb.Command(cmd="version").SerializeToString(), deadline=Deadline.after(10))
        await channel.close()
        return pb.StringReply.FromString(raw).string_reply

    return asyncio.run(ask())


def test_a_router_is_ready_when_it_can_search_says_why_not_before_and_ends_on_sigterm(
    tmp_path: Path, node: ServedNode, processes: list[subprocess.Popen[str]]
) -> None:
    process = serve(tmp_path, processes)
    http = http_address(tmp_path)
    assert got(http, "/healthz") == (200, {"status": "ok"})
    status, body = got(http, "/readyz")
    assert status == 503
    assert "no node that can search has answered" in str(body["reasons"])
    node.start()
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert re.fullmatch(r"ready 127\.0\.0\.1:\d+\n", ready)
    assert got(http, "/readyz") == (200, {"ready": True, "reasons": [], "warnings": []})
    assert got(http, "/explain/absent")[0] == 404
    assert got(http, "/status")[1]["searchers"] == ["node"]
    assert version_of(ready.split()[1]) == "1.1.0"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")


def test_a_router_that_never_became_ready_ends_on_sigterm_too(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process = serve(tmp_path, processes)
    http_address(tmp_path)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")


@pytest.mark.parametrize("flag", ["--address", "--http-address"])
def test_a_port_in_use_is_one_clear_line(
    tmp_path: Path, node: ServedNode, processes: list[subprocess.Popen[str]], flag: str
) -> None:
    node.start()
    first = serve(tmp_path, processes)
    assert first.stdout is not None
    taken = first.stdout.readline().split()[1] if flag == "--address" else http_address(tmp_path)
    second = serve(tmp_path, processes, flag, taken)
    out, _ = second.communicate(timeout=30)
    said = [line for line in (tmp_path / "router.log").read_text(encoding="utf-8").splitlines() if "level=" not in line]
    assert (second.returncode, out) == (1, "")
    assert len(said) == 1
    assert f"cannot listen on {taken}" in said[0]


def test_a_router_writes_no_file(tmp_path: Path, node: ServedNode, processes: list[subprocess.Popen[str]]) -> None:
    node.start()
    process = serve(tmp_path, processes)
    assert process.stdout is not None
    process.stdout.readline()
    links = [link.readlink() for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()]
    assert [str(target) for target in links if target.is_relative_to(tmp_path)] == [str(tmp_path / "router.log")]
    assert {path.name for path in tmp_path.iterdir()} == {"nodes", "router.log"}
