"""The running cluster under load, and the tools with which faults are brought upon it."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
from kazoo.client import KazooClient

from harness.faults.clock import JumpingClock
from harness.faults.fuse_folder import FuseFolder
from harness.faults.partition import Partition, as_group
from harness.faults.small_disk import SmallDisk
from harness.full_cluster import FullCluster, Launch
from harness.milvus1.client import NodeClient
from harness.ports import free_port
from harness.processes import Program
from harness.resources import Usage, usages
from harness.servers import Server
from harness.span_receivers import JaegerAgent
from harness.tcp_proxy import TcpProxy
from harness.traffic import Load, Outcome, Traffic, present
from harness.truth import Truth
from harness.waiting import eventually

NAME = "words"
BACK_S = 90
"""The longest that anything takes to be as it was once a fault has ended."""

ROUTERS_GROUP = 47_110
"""The group of the routers' processes, by which their packets are told from others'."""

_LOAD = Load(pause_s=0.06, timeout_s=15)
_ROUTER = {"WRITE_WAIT_MS": "2000"}
_TRACING = {"TRACING_PLUGIN": "jaeger", "TRACING_SAMPLER": "probabilistic", "TRACING_SAMPLER_PARAM": "0.1"}


class Stage:
    """One cluster for all scenarios, with its load; close it in the end.

    Its data lie on a small disk; ``readonly-3`` sees them through a faulty folder and is reached through a proxy, the
    writable nodes have their log in a faulty folder, ``readonly-2`` has a clock of its own, the routers are a group of
    their own: each where the machine allows it.
    """

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        """Start everything."""
        self.folder = folder
        self.random = random.Random(seed)
        self.well_since = 0.0
        """When it was last seen that everything is as it should be."""
        self._open = contextlib.ExitStack()
        self.agent = JaegerAgent()
        self.disk: SmallDisk | None = None
        self.faulty: FuseFolder | None = None
        """What ``readonly-3`` sees of the data."""
        self.log: FuseFolder | None = None
        """Where the writable nodes have their log."""
        self.clock: JumpingClock | None = None
        try:
            launches = self._prepare()
            self.proxy = self._open.enter_context(TcpProxy(launches["readonly-3"].flags[1]))
            launches["readonly-3"] = self._behind_proxy(launches["readonly-3"])
            self.cluster = self._open.enter_context(FullCluster(folder, launches))
            self.truth = Truth()
            self.traffic = Traffic(self.cluster.address, NAME, self.truth, _LOAD, seed=seed)
            self.traffic.fill()
            self.settle()
            self._open.enter_context(self.traffic)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._open.close()
        self.agent.close()

    def _prepare(self) -> dict[str, Launch]:
        if not SmallDisk.missing():
            self.disk = self._open.enter_context(SmallDisk(self.folder / "data", 600))
        else:
            (self.folder / "data").mkdir()
        writer: dict[str, str] = {}
        flags: dict[str, tuple[str, ...]] = {
            f"readonly-{number}": ("--address", f"127.0.0.1:{free_port()}") for number in (1, 2, 3)
        }
        if not FuseFolder.missing():
            self.faulty = self._seen_through(self.folder / "data", "faulty")
            flags["readonly-3"] += ("--storage", str(self.faulty.mountpoint))
            self.log = self._seen_through(self.folder / "wal", "full")
            writer["WAL_PATH"] = str(self.log.mountpoint)
        wrappers: dict[str, tuple[str, ...]] = {}
        if not JumpingClock.missing():
            self.clock = JumpingClock(self.folder / "clock")
            wrappers["readonly-2"] = tuple(self.clock.wrapper)
        tracing = {**_TRACING, "TRACING_ENDPOINT": self.agent.endpoint}
        router = _environment("MISHARDS", _ROUTER | tracing)
        if not Partition.missing():
            router = (*as_group(ROUTERS_GROUP), *router)
        wrappers |= dict.fromkeys(("router-1", "router-2"), router)
        for name in ("readonly-1", "readonly-2", "readonly-3"):
            wrappers[name] = (*wrappers.get(name, ()), *_environment("MILVUS_NODE", tracing))
        wrappers |= dict.fromkeys(("writable-1", "writable-2"), _environment("MILVUS_NODE", tracing | writer))
        return {name: Launch(wrapper, flags.get(name, ())) for name, wrapper in wrappers.items()}

    def _seen_through(self, real: Path, name: str) -> FuseFolder:
        real.mkdir(exist_ok=True)
        return self._open.enter_context(FuseFolder(real, self.folder / name, self.folder))

    def _behind_proxy(self, launch: Launch) -> Launch:
        return Launch(
            (*launch.wrapper, *_environment("MILVUS_NODE", {"ANNOUNCE_ADDRESS": self.proxy.address})), launch.flags
        )

    # --- what scenarios do -------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Let the fault last."""
        threading.Event().wait(seconds)

    @contextlib.contextmanager
    def client(self) -> Iterator[NodeClient]:
        """A client that calls through the balancer."""
        with self.traffic.client() as client:
            yield client

    @contextlib.contextmanager
    def zookeeper(self) -> Iterator[KazooClient]:
        """A session of the test's own with the ensemble."""
        client = KazooClient(",".join(server.address for server in self.cluster.zookeepers), timeout=10)
        client.start(30)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def get(self, program: Any, path: str) -> dict[str, Any]:
        """The JSON of a router's HTTP side; empty while it does not answer."""
        try:
            found: dict[str, Any] = program.get(path)
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}
        return found

    def standby(self) -> Server:
        """The writable node that does not lead."""
        leader = self.cluster.leader()
        return next(server for server in self.cluster.writables if server is not leader)

    def usages(self) -> dict[str, Usage]:
        """What every program holds; the writable nodes by what they are now."""
        named, leader = self.programs, self.cluster.leader()
        for writable in self.cluster.writables:
            named["leader" if writable is leader else "standby"] = named.pop(writable.name)
        return usages(named)

    # --- what the runner asks ----------------------------------------------------------------------------------------

    @property
    def programs(self) -> dict[str, Program]:
        """Every server and program of the cluster, by a name that lasts."""
        cluster = self.cluster
        found: dict[str, Program] = {program.name: program for program in (*cluster.nodes, *cluster.routers)}
        found |= {f"zookeeper-{number}": server for number, server in enumerate(cluster.zookeepers, 1)}
        return found | {"mariadb": cluster.mariadb, "nginx": cluster.balancer, "prometheus": cluster.prometheus}

    def unwell(self) -> str:
        """What is not as it should be, or nothing."""
        ended = [name for name, program in self.programs.items() if not program.running]
        if ended:
            return f"{', '.join(ended)} ended"
        for router in self.cluster.routers:
            ready, status = self.get(router, "/readyz"), self.get(router, "/status")
            if not ready or not status:
                return f"{router.name} does not answer"
            if not ready["ready"] or ready["warnings"]:
                return f"{router.name}: {ready['reasons'] + ready['warnings']}"
            nodes = {entry["name"]: (entry["health"], entry["state"]) for entry in status["nodes"]}
            wrong = {node.name for node in self.cluster.nodes if nodes.get(node.name) != ("up", "ready")}
            if wrong:
                return f"{router.name} sees {', '.join(f'{name} {nodes.get(name)}' for name in sorted(wrong))}"
        return ""

    def wait_well(self) -> None:
        """Wait until everything runs and each router says that all is well."""
        eventually(lambda: not self.unwell(), BACK_S, self.unwell)

    def settle(self) -> None:
        """Wait until every router knows of all that was done before now, by a row that each of them finds."""
        began = time.monotonic()
        with self.client() as client:
            ids = eventually(lambda: self._marked(client), BACK_S, "a row is inserted and flushed")
        for router in self.cluster.routers:
            with NodeClient(router.address) as client:
                eventually(partial(self._finds, client, ids), BACK_S, f"{router.name} knows of the latest rows")
        self.truth.settle(began)
        self.well_since = time.monotonic()

    def _marked(self, client: NodeClient) -> list[int]:
        ids = self.traffic.new_ids(1)
        if self.traffic.insert_ids(client, ids).outcome is not Outcome.RIGHT:
            return []
        try:
            return [] if client.flush(NAME).error_code else list(ids)
        except grpc.RpcError:
            return []

    def _finds(self, client: NodeClient, ids: list[int]) -> bool:
        params = json.dumps({"consistency_level": "Eventually"})
        try:
            return client.search(NAME, self.truth.vectors(ids), 1, params).ids == [ids]
        except grpc.RpcError:
            return False

    def loss(self, since: float) -> str:
        """Compare, with the load paused, what is there with what should be: rows that lived since a moment."""
        with self.traffic.paused(), self.client() as client:
            listed = partial(self._listed, client, self.truth.known(gone_since=since))
            return self.truth.loss(eventually(listed, BACK_S, "every row is searched for")[0])

    def _listed(self, client: NodeClient, ids: list[int]) -> list[list[int]]:
        """Those of the rows that are there, in a list; an empty list where that cannot be told just now."""
        try:
            return [present(client, NAME, self.truth, ids)]
        except grpc.RpcError:
            return []

    def half_written(self) -> list[str]:
        """Segments that the catalog names as live and whose folder is not there."""
        catalog = f"`{self.cluster.database.name}`.TableFiles"
        live = f"SELECT table_id, segment_id FROM {catalog} WHERE file_type IN (1, 2, 3, 7)"  # noqa: S608 - ours
        tables = self.folder / "data" / "db" / "tables"
        return [
            f"{table}/{segment}"
            for table, segment in self.cluster.mariadb.execute(live)
            if not (tables / table / segment).is_dir()
        ]


def _environment(prefix: str, values: dict[str, str]) -> tuple[str, ...]:
    return ("env", *(f"{prefix}_{name}={value}" for name, value in values.items()))
