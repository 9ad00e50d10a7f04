"""Everything that ``deploy/compose`` draws and that runs here as a real program, behind one address.

Three ZooKeepers, MariaDB, two candidates for writing, three read-only nodes, one shared folder, two routers, nginx
before them, Prometheus beside them; the names are those of the Compose file. For one test and for ``make cluster``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.deployed import DEPLOY, changed
from harness.fleet import RouterProcess
from harness.mariadb import MariaDB
from harness.nginx import Nginx
from harness.processes import Program, server_folder
from harness.prometheus import Prometheus
from harness.servers import Server, node
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper, ensemble

_SETTINGS = {"routing": {"replicas": 2}}
_START_S = 100
"""Of everything together; seven programs of ours begin at once."""


@dataclass(frozen=True)
class Launch:
    """How one of our programs is started other than the rest.

    Attributes:
        wrapper: A command that becomes the program's own, such as ``env NAME=VALUE``.
        flags: Further ones; those that are given twice count as given last.
    """

    wrapper: Sequence[str] = ()
    flags: Sequence[str] = ()


class FullCluster:
    """The parts, for tests to kill; close it in the end."""

    def __init__(self, folder: Path, launches: Mapping[str, Launch] | None = None) -> None:
        """Start everything; data and logs of our own programs lie in ``folder``, ``launches`` is by their names."""
        self.folder = folder
        self._launches = launches or {}
        self._open = contextlib.ExitStack()
        self.writables: list[Server] = []
        self.readers: list[Server] = []
        self.routers: list[RouterProcess] = []
        try:
            self._start_servers()
            self._start_programs()
            self.balancer = self._open.enter_context(Nginx(_made(folder / "nginx"), self.router_addresses))
            self.balancer.launch()
            self.prometheus = self._open.enter_context(Prometheus(_made(folder / "metrics"), {}))
            self.prometheus.configure(self._scraped())
            self.prometheus.launch()
            self._wait_complete()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        said = (kind.missing() for kind in (ZooKeeper, MariaDB, Nginx, Prometheus))
        return "; ".join(filter(None, said))

    def __enter__(self) -> FullCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        _at_once([program.close for program in (*self.routers, *self.nodes)])  # each takes its time to stop
        self._open.close()

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.balancer.port}"

    @property
    def router_addresses(self) -> list[str]:
        """Where the balancer finds the routers."""
        return [router.address for router in self.routers]

    @property
    def nodes(self) -> list[Server]:
        """The writable nodes and the read-only ones."""
        return [*self.writables, *self.readers]

    def leader(self) -> Server:
        """The writable node that leads, by what a router that runs says, once one does."""
        router = next(router for router in self.routers if router.running)
        name = eventually(lambda: router.get("/status")["writer"] or "", 30, "a writable node leads")
        return next(server for server in self.writables if server.name == name)

    def zookeeper_leader(self) -> ZooKeeper:
        """The leader of the ensemble, once there is one."""

        def leaders() -> list[ZooKeeper]:
            return [server for server in self.zookeepers if server.running and server.mode() == "leader"]

        return eventually(leaders, 30, "ZooKeeper has a leader")[0]

    def is_complete(self) -> bool:
        """Does every router see every node up and ready, and one of them leading?"""
        return all(_sees_all(router.get("/status"), len(self.nodes)) for router in self.routers)

    def _start_servers(self) -> None:
        self.mariadb = MariaDB(self._open.enter_context(server_folder("mariadb")))
        self.zookeepers = ensemble(self._open.enter_context(server_folder("zookeeper")))
        for server in (self.mariadb, *self.zookeepers):
            self._open.enter_context(server)
        _at_once([self.mariadb.launch, *(server.launch for server in self.zookeepers)])
        self.database = self.mariadb.create_database()

    def _start_programs(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        servers = "zookeeper://" + ",".join(server.address for server in self.zookeepers)
        discovery, election = f"{servers}/mishards/nodes", f"{servers}/mishards/election"
        self.writables = [
            self._node(f"writable-{number}", self.database.uri, discovery, ["--election", election])
            for number in (1, 2)
        ]
        self.readers = [self._node(f"readonly-{number}", self.database.readonly_uri, discovery) for number in (1, 2, 3)]
        self.routers = [self._router(f"router-{number}", discovery) for number in (1, 2)]
        self.writables[0].launch()  # makes the tables
        _at_once([partial(server.launch, _START_S) for server in [*self.nodes[1:], *self.routers]])

    def _node(self, name: str, metadata: str, discovery: str, flags: Sequence[str] = ()) -> Server:
        configuration = self.folder / f"{name}.yaml"
        configuration.write_text(json.dumps({"announce": {"join_quiet_s": 1}}), encoding="utf-8")
        more = ["--config", str(configuration), "--name", name, "--metadata", metadata, "--discovery", discovery]
        launch = self._launches.get(name, Launch())
        made = node(self.folder, role=name.partition("-")[0], name=name, flags=[*more, *flags, *launch.flags])
        made.command[:0] = launch.wrapper
        return self._open.enter_context(made)

    def _router(self, name: str, discovery: str) -> RouterProcess:
        launch = self._launches.get(name, Launch())
        made = RouterProcess(self.folder, self.database.uri, discovery, name, _SETTINGS)
        made.command = [*launch.wrapper, *made.command, *launch.flags]
        return self._open.enter_context(made)

    def _scraped(self) -> str:
        """The configuration of ``deploy/prometheus`` with our addresses."""
        addresses = {f"{program.name}:19121": http_address(program) for program in [*self.nodes, *self.routers]}
        rules = {"- alerts.yml": f"- {DEPLOY / 'prometheus' / 'alerts.yml'}"}
        every = {f"{what}_interval: 15s": f"{what}_interval: 1s" for what in ("scrape", "evaluation")}
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        return changed(text, addresses | rules | every)

    def _wait_complete(self) -> None:
        eventually(self.is_complete, _START_S, lambda: f"all is there: {[r.get('/status') for r in self.routers]}")


def http_address(program: Program) -> str:
    """Where a program of ours listens for HTTP, by its command."""
    return program.command[program.command.index("--http-address") + 1]


def _sees_all(status: dict[str, object], nodes: int) -> bool:
    found = status["nodes"]
    assert isinstance(found, list)
    up = [entry for entry in found if (entry["health"], entry["state"]) == ("up", "ready")]
    return len(up) == nodes and bool(status["writer"])


def _at_once(starts: Sequence[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for started in [pool.submit(start) for start in starts]:
            started.result()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
