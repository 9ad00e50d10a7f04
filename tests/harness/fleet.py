"""Routers before a writable and several read-only nodes, all of them processes, found by static discovery."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from harness.milvus1.client import NodeClient
from harness.milvus1.options import Role
from harness.milvus1.program import Milvus1Program
from harness.ports import free_port
from harness.programs import MISHARDS, program
from harness.servers import Server, node
from harness.tcp_proxy import TcpProxy
from harness.truth import Truth
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb

DIM = 16
BASE = gaussian(4000, DIM)
QUERIES = gaussian(3, DIM, seed=7)
NAME = "words"

KINDS = ("ours", "double")
"""Of nodes: ours, and the double of Milvus 1.x."""

_QUICK: dict[str, dict[str, Any]] = {
    "metadata": {"refresh_ms": 200},
    "health": {
        "probe_interval_ms": 500,
        "retry_min_ms": 50,
        "retry_max_ms": 300,
        "slow_start_ms": 300,
        "patience_ms": 300,
    },
    "network": {"drain_ms": 500},
    "log": {"requests": False},
}
"""Settings of routers that notice within a test what they notice within seconds otherwise."""


class RouterProcess(Server):
    """A router as a user starts it; ``settings`` are sections of its configuration file."""

    def __init__(
        self, folder: Path, metadata: str, discovery: str, name: str, settings: Mapping[str, Mapping[str, Any]]
    ) -> None:
        sections = {key: {**_QUICK.get(key, {}), **settings.get(key, {})} for key in {*_QUICK, *settings}}
        configuration = folder / f"{name}.yaml"
        configuration.write_text(json.dumps(sections), encoding="utf-8")
        self._http = f"http://127.0.0.1:{free_port()}"
        command = [
            *(*program(MISHARDS), "serve", "--name", name, "--config", str(configuration)),
            *("--address", f"127.0.0.1:{free_port()}", "--http-address", self._http.removeprefix("http://")),
            *("--metadata", metadata, "--discovery", discovery),
        ]
        super().__init__(name, command, folder)

    @property
    def http_port(self) -> int:
        """The port of its HTTP side."""
        return int(self._http.rpartition(":")[2])

    def get(self, path: str) -> Any:
        """The JSON at a path of its HTTP side."""
        return httpx.get(self._http + path, timeout=10).json()

    def node(self, name: str) -> dict[str, Any]:
        """What it says of a node."""
        found: dict[str, Any] = next(entry for entry in self.get("/status")["nodes"] if entry["name"] == name)
        return found


class Reader:
    """A read-only node and the proxy through which the routers reach it."""

    def __init__(self, program: Server | Milvus1Program) -> None:
        self.program = program
        program.launch()
        self.proxy = TcpProxy(program.address)
        self.name = self.proxy.address
        """Under which the routers know it."""


class Fleet:
    """A writable node, ``readers`` and a router, with rows that a ``Truth`` knows; close it in the end."""

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        readers: int = 2,
        metadata: str = "",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Start everything.

        Args:
            folder: For data, logs and configuration.
            kind: One of ``KINDS``.
            readers: How many read-only nodes.
            metadata: URI of the database; a SQLite file when empty.
            settings: Of the routers.
            options: Of the double, as ``Milvus1Program`` takes them.
        """
        self._folder, self.kind, self._settings, self._options = folder, kind, settings or {}, options
        (folder / "data").mkdir()
        self.metadata = metadata or f"sqlite:///{folder / 'data' / 'meta.sqlite'}"
        self._open = contextlib.ExitStack()
        self.truth = Truth()
        try:
            self.writable = self._node("writable", 0)
            self.writable.launch()
            with ThreadPoolExecutor(readers) as pool:
                self.readers = list(pool.map(Reader, [self._node("readonly", n) for n in range(readers)]))
            for reader in self.readers:
                self._open.callback(reader.proxy.close)
            self.router = self.add_router("router")
            self.client = self.client_of(self.router.address)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._open.close()

    def _node(self, role: str, number: int) -> Server | Milvus1Program:
        made: Server | Milvus1Program
        if self.kind == "ours":
            made = node(self._folder, role=role, name=f"{role}{number}", flags=["--metadata", self.metadata])
        else:
            short: Role = "rw" if role == "writable" else "ro"
            options = ("auto_flush_interval_s=0", "build_threshold=20", *self._options)
            made = Milvus1Program(short, self.metadata, self._folder / "data", self._folder, *options)
        self._open.enter_context(made)
        return made

    def add_router(self, name: str) -> RouterProcess:
        """Start a router over the same nodes."""
        readers = ",".join(reader.name for reader in self.readers)
        discovery = f"static://?writable={self.writable.address}&readonly={readers}"
        router = RouterProcess(self._folder, self.metadata, discovery, name, self._settings)
        self._open.enter_context(router).launch()
        return router

    def client_of(self, address: str) -> NodeClient:
        """A client of any server of the fleet, closed with it."""
        return self._open.enter_context(NodeClient(address))

    def create(self) -> None:
        """Create the collection, through the router."""
        assert self.client.create(NAME, DIM).reason == "OK"

    def insert(self, first: int, rows: int, tag: str = "") -> None:
        """Insert rows of ``BASE`` through the router and flush them."""
        ids = range(first, first + rows)
        self.truth.inserting(ids, BASE[first : first + rows])
        assert not self.client.insert(NAME, BASE[first : first + rows], ids, tag).status.error_code
        assert not self.client.flush(NAME).error_code
        self.truth.inserted(ids)

    def fill(self, segments: int = 6, rows: int = 40) -> None:
        """Create the collection with so many segments, each in a partition of its own: none is ever merged."""
        self.create()
        for number in range(segments):
            tag = f"part{number}"
            partition = pb.PartitionParam(collection_name=NAME, tag=tag)
            assert not self.client.call("CreatePartition", partition).error_code
            self.insert(number * rows, rows, tag)

    def holder(self) -> Reader:
        """A reader that holds a segment, by the router's placement."""
        names = {nodes[0] for nodes in placement(self.router).values()}
        return next(reader for reader in self.readers if reader.name in names)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows through the router and flush."""
        self.truth.deleting(ids)
        assert not self.client.delete(NAME, ids).error_code
        assert not self.client.flush(NAME).error_code
        self.truth.deleted(ids)

    def assert_loaded_again(self, name: str, router: RouterProcess | None = None) -> None:
        """Wait until a router has a node up and has searched it since: its moving average moves with searches only."""
        asked = router or self.router
        before = asked.node(name)["latency_ms"]
        eventually(
            lambda: (asked.node(name)["health"], asked.node(name)["latency_ms"] != before) == ("up", True),
            20,
            lambda: f"{name} gets load again: {asked.node(name)}",
        )


def placement(router: RouterProcess) -> dict[str, list[str]]:
    """Segment → nodes that hold it, in order, as a router says."""
    return {entry["segment_id"]: entry["nodes"] for entry in router.get(f"/explain/{NAME}")["segments"]}
