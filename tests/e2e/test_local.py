"""What ``mishards local`` promises: real processes, driven by an unmodified client."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import vectors
from harness.client import ClientRaised, RemoteClient
from harness.mariadb import Database
from harness.ports import accepts_connections, free_port
from harness.processes import Program
from harness.programs import MISHARDS, program
from harness.waiting import eventually

Connect = Callable[..., RemoteClient]

ROWS = vectors.gaussian(400, 16)
STOP_S = 10
L2 = 1


class LocalCluster(Program):
    """``mishards local`` as a user starts it, in a folder and on ports of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.dir = folder / "cluster"
        self.port, self.http_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        places = ["--dir", self.dir, "--port", self.port, "--http-port", self.http_port]
        super().__init__(
            "mishards-local",
            [*program(MISHARDS), "local", *map(str, places), *options],
            folder,
            logs=self.dir / "logs",
        )

    def up(self) -> None:
        """Start it and wait for its promise that searches can be served."""
        before = len(self.ready_lines())
        self.start(lambda: len(self.ready_lines()) > before, 60)

    def ready_lines(self) -> list[str]:
        return re.findall(r"^ready .*$", self.log_text(), re.MULTILINE)

    def processes(self) -> dict[str, dict[str, Any]]:
        state = json.loads((self.dir / "local.json").read_text())
        return {process["name"]: process for process in state["processes"]}

    def until_restarted(self, before: dict[str, Any]) -> dict[str, Any]:
        """Wait until a process of that name serves again, as another process; returns its new entry."""

        def successor() -> dict[str, Any] | None:
            now = self.processes().get(before["name"])
            if now is None or now["pid"] == before["pid"]:
                return None
            return now if accepts_connections(port_of(now)) else None

        return eventually(successor, 30, lambda: f"{before['name']} serves again\n{self.log_tail()}")


@contextmanager
def running(folder: Path, *options: str) -> Iterator[LocalCluster]:
    with LocalCluster(folder, *options) as cluster:
        cluster.up()
        yield cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster for tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("shared"), "--routers", "2") as cluster:
        yield cluster


def port_of(process: dict[str, Any]) -> int:
    return int(process["address"].rpartition(":")[2])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fill(client: RemoteClient, name: str, *, flush: bool = True) -> None:
    shape = {"collection_name": name, "dimension": 16, "index_file_size": 8, "metric_type": L2}
    assert client.call("create_collection", param=shape).ok
    assert client.call("insert", collection_name=name, records=ROWS, ids=list(range(len(ROWS)))).ok
    if flush:
        assert client.call("flush", collection_name_array=[name]).ok


def assert_holds_all(client: RemoteClient, name: str) -> None:
    assert client.call("flush", collection_name_array=[name]).ok
    assert client.call("count_entities", collection_name=name).value == len(ROWS)
    found = client.call("search", collection_name=name, top_k=1, query_records=ROWS)
    assert np.ravel(found.value.ids).tolist() == list(range(len(ROWS)))


def test_it_says_ready_once_with_the_address_that_was_asked_for(shared: LocalCluster) -> None:
    assert shared.ready_lines() == [f"ready {shared.address}"]


def test_the_state_names_every_process_and_each_is_a_child_with_a_log_and_an_address_that_answers(
    shared: LocalCluster, connect: Connect
) -> None:
    processes = shared.processes()

    assert [(process["name"], process["role"]) for process in processes.values()] == [
        ("writable", "writable"),
        ("readonly-1", "readonly"),
        ("readonly-2", "readonly"),
        ("router-1", "router"),
        ("router-2", "router"),
    ]
    assert processes["router-1"]["address"] == shared.address
    for process in processes.values():
        status = Path(f"/proc/{process['pid']}/status").read_text()
        assert f"PPid:\t{shared.pid}\n" in status
        assert (shared.dir / "logs" / f"{process['name']}.log").stat().st_size > 0
        assert connect(process["address"]).call("server_version").value == "1.1.0"


def test_it_listens_on_the_loopback_only(shared: LocalCluster) -> None:
    assert {process["address"].partition(":")[0] for process in shared.processes().values()} == {"127.0.0.1"}


def test_every_router_serves_the_same_cluster(shared: LocalCluster, connect: Connect) -> None:
    routers = [shared.processes()[name]["address"] for name in ("router-1", "router-2")]

    fill(connect(routers[0]), "seen_by_both")
    for address in routers:
        assert_holds_all(connect(address), "seen_by_both")


def test_a_second_start_in_the_same_folder_is_one_line_and_a_failure(shared: LocalCluster) -> None:
    second = refused("--dir", str(shared.dir), "--port", str(free_port()), "--http-port", str(free_port()))

    assert f"{shared.dir} is held by another cluster (process {shared.pid})" in second
    assert len(shared.processes()) == 5


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_port_in_use_is_one_line_and_a_failure(option: str, tmp_path: Path) -> None:
    ports = {"--port": free_port(), "--http-port": free_port()}
    with socket.create_server(("127.0.0.1", ports[option])):
        flat = [str(part) for pair in ports.items() for part in pair]
        line = refused("--dir", str(tmp_path / "cluster"), *flat)

    assert f"127.0.0.1:{ports[option]}: address already in use" in line
    assert option in line


def test_a_folder_that_cannot_be_written_is_one_line_and_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert f"cannot write {tmp_path}/file/cluster" in refused("--dir", str(tmp_path / "file" / "cluster"))


def refused(*options: str) -> str:
    """The one line that a start says which cannot be."""
    ended = subprocess.run([*program(MISHARDS), "local", *options], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_each_process_that_is_killed_comes_back_where_it_was_and_the_cluster_serves_on(
    tmp_path: Path, connect: Connect
) -> None:
    with running(tmp_path) as cluster:
        client = connect(cluster.address)
        fill(client, "things")
        for name in ("readonly-1", "writable", "router-1"):
            before = cluster.processes()[name]
            os.kill(before["pid"], signal.SIGKILL)
            assert cluster.until_restarted(before)["address"] == before["address"]
            eventually(lambda: holds_all_now(cluster, connect), 30, f"all rows are served after {name} was killed")


def holds_all_now(cluster: LocalCluster, connect: Connect) -> bool:
    try:
        assert_holds_all(connect(cluster.address), "things")
    except (AssertionError, ClientRaised):
        return False
    return True


def test_without_restart_a_killed_process_stays_away_and_leaves_the_state(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path, "--no-restart") as cluster:
        client = connect(cluster.address)
        fill(client, "things")
        os.kill(cluster.processes()["readonly-1"]["pid"], signal.SIGKILL)

        assert_holds_all(client, "things")  # at once: the other node answers
        eventually(lambda: "readonly-1" not in cluster.processes(), 10, "the state no longer names it")
        assert set(cluster.processes()) == {"writable", "readonly-2", "router-1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_within_ten_seconds_and_the_next_start_serves_what_was_acknowledged(
    number: signal.Signals, tmp_path: Path, connect: Connect
) -> None:
    with running(tmp_path, "--readonly", "1") as cluster:
        fill(connect(cluster.address), "things", flush=False)
        pids = [process["pid"] for process in cluster.processes().values()]

        started = time.monotonic()
        cluster.signal(number)
        assert cluster.wait(STOP_S + 20) == 0
        assert time.monotonic() - started <= STOP_S
        assert not any(map(alive, pids))
        assert cluster.processes() == {}

        cluster.up()
        assert_holds_all(connect(cluster.address), "things")


def test_no_process_outlives_a_killed_cluster_and_the_next_start_serves_what_was_acknowledged(
    tmp_path: Path, connect: Connect
) -> None:
    with running(tmp_path, "--readonly", "1") as cluster:
        fill(connect(cluster.address), "things", flush=False)
        pids = [process["pid"] for process in cluster.processes().values()]

        cluster.kill()
        eventually(lambda: not any(map(alive, pids)), 10, "every process has died with the cluster")

        cluster.up()
        assert_holds_all(connect(cluster.address), "things")


def test_without_read_only_nodes_the_writable_node_answers_searches(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path, "--readonly", "0") as cluster:
        client = connect(cluster.address)
        fill(client, "things")
        assert_holds_all(client, "things")
        assert set(cluster.processes()) == {"writable", "router-1"}


def test_the_metadata_may_lie_in_a_database_of_the_users_own(
    tmp_path: Path, connect: Connect, mysql_database: Database
) -> None:
    with running(tmp_path, "--readonly", "1", "--metadata", mysql_database.uri) as cluster:
        client = connect(cluster.address)
        fill(client, "things")
        assert_holds_all(client, "things")
        assert not (cluster.dir / "metadata").exists()


def test_a_process_that_cannot_start_ends_the_start_with_its_log(tmp_path: Path) -> None:
    command = [*program(MISHARDS), "local", "--dir", str(tmp_path), "--port", "0", "--http-port", "0"]
    ended = subprocess.run(
        [*command, "--metadata", "oracle://host/db"], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert "mishards local: writable ended (exit code 1) before it was ready" in ended.stderr
    assert "'oracle'" in ended.stderr
    assert ended.stdout == ""
    assert json.loads((tmp_path / "local.json").read_text()) == {"processes": []}


def test_the_sample_is_loaded_indexed_and_shown_once_and_searched_again_at_the_next_start(
    tmp_path: Path, connect: Connect
) -> None:
    with running(tmp_path, "--sample") as cluster:
        eventually(lambda: "until Ctrl-C" in cluster.log_text(), 60, lambda: f"the sample\n{cluster.log_tail()}")
        shown = cluster.log_text()
        assert re.search(r"king .*prince 0\.77", shown)
        assert re.search(r"monday .*tuesday 0\.99", shown)
        for node in ("readonly-1", "readonly-2"):
            assert re.search(rf"{node} +[1-9] ", shown)
        client = connect(cluster.address)
        assert client.call("count_entities", collection_name="words").value == 20_000
        assert client.call("get_index_info", collection_name="words").value["index_type"] == 2

        cluster.terminate(STOP_S)
        cluster.up()
        eventually(lambda: cluster.log_text().count("until Ctrl-C") == 2, 60, lambda: f"again\n{cluster.log_tail()}")
        again = cluster.log_text()[len(shown) :]
        assert "already here: nothing to load" in again
        assert re.search(r"king .*prince 0\.77", again)
        assert "loading words" not in again
