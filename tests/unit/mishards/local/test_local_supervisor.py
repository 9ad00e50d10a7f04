"""Starting, watching and stopping processes, with programs that only stand in for routers and nodes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.waiting import eventually, eventually_async
from mishards.deadline import Deadline
from mishards.errors import ProcessFailed
from mishards.local import supervisor as supervisor_module
from mishards.local.child import Child
from mishards.local.cluster import ProcessSpec, Role
from mishards.local.state import ProcessState, read_state
from mishards.local.supervisor import Supervisor, restart_delay

STAND_IN = str(Path(__file__).with_name("stand_in.py"))


def stand_in(name: str, role: Role, mode: str = "good", notes: Path | None = None) -> ProcessSpec:
    noted = () if notes is None else ("--notes", str(notes))
    return ProcessSpec(name, role, (sys.executable, "-I", "-S", STAND_IN), ("--mode", mode, *noted))


@dataclass
class Cluster:
    folder: Path
    supervisor: Supervisor
    said: list[str] = field(default_factory=list)

    def states(self) -> dict[str, ProcessState]:
        return {state.name: state for state in read_state(self.folder)}

    def pid_of(self, name: str) -> int | None:
        state = self.states().get(name)
        return state.pid if state else None

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async def asked() -> bool:
            return condition()

        await eventually_async(asked, 20, lambda: f"{what}; said: {self.said}; local.json: {self.states()}")


@asynccontextmanager
async def cluster_of(folder: Path, *specs: ProcessSpec, restart: bool = True) -> AsyncIterator[Cluster]:
    (folder / "logs").mkdir()
    said: list[str] = []
    cluster = Cluster(folder, Supervisor(specs, folder, restart=restart, report=said.append), said)
    try:
        yield cluster
    finally:
        await cluster.supervisor.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_state_names_every_process_with_the_address_on_which_it_serves(tmp_path: Path) -> None:
    specs = [stand_in("writable", "writable"), stand_in("readonly-1", "readonly"), stand_in("router-1", "router")]

    async with cluster_of(tmp_path, *specs) as cluster:
        await cluster.supervisor.start()

        states = cluster.states()
        assert {(state.name, state.role) for state in states.values()} == {(spec.name, spec.role) for spec in specs}
        for state in states.values():
            assert alive(state.pid)
            assert state.address == cluster.supervisor.address_of(state.name)
            assert f"ready {state.address}\n" in (tmp_path / "logs" / f"{state.name}.log").read_text()

    assert read_state(tmp_path) == ()
    assert not any(alive(state.pid) for state in states.values())


async def test_a_process_that_dies_is_started_again_on_the_port_it_had(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, stand_in("writable", "writable")) as cluster:
        await cluster.supervisor.start()
        before = cluster.states()["writable"]

        os.kill(before.pid, signal.SIGKILL)
        await cluster.until(lambda: any("serves again" in line for line in cluster.said), "the node serves again")

        after = cluster.states()["writable"]
        assert after.pid != before.pid
        assert after.address == before.address
        assert alive(after.pid)
        assert f"writable (process {before.pid}) ended: killed by SIGKILL" in cluster.said


async def test_a_process_that_dies_again_and_again_is_started_again_each_time(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, stand_in("writable", "writable")) as cluster:
        await cluster.supervisor.start()
        pids = set()
        for _ in range(3):
            pid = cluster.states()["writable"].pid
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            await cluster.until(lambda pid=pid: cluster.pid_of("writable") not in (None, pid), "a successor")
        assert len(pids) == 3


async def test_without_restart_a_dead_process_leaves_the_state_and_the_others_stay(tmp_path: Path) -> None:
    specs = [stand_in("writable", "writable"), stand_in("readonly-1", "readonly")]

    async with cluster_of(tmp_path, *specs, restart=False) as cluster:
        await cluster.supervisor.start()
        os.kill(cluster.states()["readonly-1"].pid, signal.SIGKILL)

        await cluster.until(lambda: "readonly-1" not in cluster.states(), "the dead node is gone from the state")
        assert alive(cluster.states()["writable"].pid)
        assert not any("serves again" in line for line in cluster.said)


async def test_a_process_that_cannot_start_again_is_tried_again_and_leaves_the_state_meanwhile(tmp_path: Path) -> None:
    fragile = stand_in("readonly-1", "readonly", "fragile", tmp_path / "notes")

    async with cluster_of(tmp_path, fragile) as cluster:
        await cluster.supervisor.start()
        os.kill(cluster.states()["readonly-1"].pid, signal.SIGKILL)
        await cluster.until(lambda: sum("ended: exit code 1" in line for line in cluster.said) >= 2, "two vain tries")

        (tmp_path / "notes").unlink()
        await cluster.until(lambda: any("serves again" in line for line in cluster.said), "the node serves again")


async def test_a_process_that_cannot_start_fails_the_start_with_what_it_said(tmp_path: Path) -> None:
    specs = [stand_in("writable", "writable"), stand_in("router-1", "router", "broken")]

    async with cluster_of(tmp_path, *specs) as cluster:
        with pytest.raises(ProcessFailed, match=r"router-1 ended \(exit code 1\) before it was ready") as failure:
            await cluster.supervisor.start()
        assert failure.value.output == "a line of log\ncannot listen: something is wrong"


async def test_nothing_starts_before_the_writable_node_serves(tmp_path: Path) -> None:
    specs = [stand_in("writable", "writable", "broken"), stand_in("router-1", "router")]

    async with cluster_of(tmp_path, *specs) as cluster:
        with pytest.raises(ProcessFailed):
            await cluster.supervisor.start()
        assert not (tmp_path / "logs" / "router-1.log").exists()


async def test_routers_stop_before_read_only_nodes_and_these_before_the_writable_node(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    roles: list[tuple[str, Role]] = [("writable", "writable"), ("readonly-1", "readonly"), ("router-1", "router")]

    async with cluster_of(tmp_path, *(stand_in(name, role, "good", notes) for name, role in roles)) as cluster:
        await cluster.supervisor.start()

    assert notes.read_text().splitlines() == ["stopped router-1", "stopped readonly-1", "stopped writable"]


async def test_a_process_that_does_not_stop_is_killed_and_the_others_still_stop_gracefully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_S", 0.6)
    monkeypatch.setattr(supervisor_module, "_STOP_SHARES", (("router", 0.2), ("readonly", 0.2), ("writable", 0.6)))
    notes = tmp_path / "notes"
    specs = [stand_in("router-1", "router", "stubborn"), stand_in("writable", "writable", "good", notes)]

    async with cluster_of(tmp_path, *specs) as cluster:
        await cluster.supervisor.start()
        stubborn = cluster.states()["router-1"].pid

    assert not alive(stubborn)
    assert notes.read_text() == "stopped writable\n"
    assert any("does not stop: killed" in line for line in cluster.said)
    assert read_state(tmp_path) == ()


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing_behind(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, stand_in("writable", "writable", "mute")) as cluster:
        start = asyncio.create_task(cluster.supervisor.start())
        await cluster.until((tmp_path / "local.json").exists, "the start has begun")
        await cluster.until(lambda: cluster.pid_of("writable") is not None, "it is started")
        state = cluster.states()["writable"]
        assert state.address is None
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)

    assert not alive(state.pid)


async def test_a_process_that_says_nothing_is_not_waited_for_longer_than_the_deadline(tmp_path: Path) -> None:
    child = await Child.start(stand_in("writable", "writable", "mute"), "127.0.0.1:0", tmp_path / "log")
    try:
        with pytest.raises(ProcessFailed, match="did not become ready in time"):
            await child.ready(Deadline.after(0.1))
    finally:
        child.kill()
        await child.wait()


async def test_what_an_earlier_process_left_in_the_log_does_not_make_a_new_one_ready(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ready 127.0.0.1:1\n")

    child = await Child.start(stand_in("writable", "writable"), "127.0.0.1:0", log)
    try:
        assert await child.ready(Deadline.after(20)) != "127.0.0.1:1"
    finally:
        child.kill()
        await child.wait()


async def test_a_process_has_a_session_of_its_own_so_that_a_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    child = await Child.start(stand_in("writable", "writable"), "127.0.0.1:0", tmp_path / "log")
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.kill()
        await child.wait()


def test_a_process_dies_with_its_starter_even_when_that_is_killed(tmp_path: Path) -> None:
    starter = f"""
import asyncio, sys
from pathlib import Path
from mishards.local.child import Child
from mishards.local.cluster import ProcessSpec

async def main():
    spec = ProcessSpec("writable", "writable", (sys.executable, "-I", "-S", {STAND_IN!r}))
    child = await Child.start(spec, "127.0.0.1:0", Path({str(tmp_path / "log")!r}))
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        eventually(lambda: "ready" in (tmp_path / "log").read_text(), 20, "the child serves")
        assert alive(pid)
        process.kill()

    eventually(lambda: not alive(pid), 10, "the child is gone")


@pytest.mark.parametrize(("failures", "delay"), [(0, 0.1), (1, 0.2), (3, 0.8), (6, 5.0), (10_000, 5.0)])
def test_the_wait_before_a_restart_doubles_up_to_a_bound(failures: int, delay: float) -> None:
    assert restart_delay(failures) == pytest.approx(delay)
