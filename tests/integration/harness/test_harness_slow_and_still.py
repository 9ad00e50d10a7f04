from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.faults import cgroups
from harness.faults.cgroups import Hierarchy
from harness.faults.clock import JumpingClock
from harness.faults.cpu_quota import CpuQuota
from harness.faults.freezer import Freezer
from harness.faults.small_disk import SmallDisk
from harness.processes import Program
from harness.waiting import eventually

_SPIN = """
for number in range(1 << 60):
    if number % 10_000 == 0:
        with open("count", "w") as file:
            file.write(str(number))
"""
_CLOCKS = """
import time
while True:
    print(time.time(), time.monotonic(), flush=True)
    time.sleep(0.05)
"""

_TURNS = """
import sys, threading, time
sys.setswitchinterval(1)
thread = threading.Thread(target=lambda: [None for _ in iter(lambda: done, True)])
done = False
thread.start()
began = time.monotonic()
time.sleep(0.05)
print(time.monotonic() - began)
done = True
thread.join()
"""


@pytest.fixture
def spinning(tmp_path: Path) -> Iterator[Program]:
    """A program that takes all of one core and counts."""
    with Program("spinning", [sys.executable, "-c", _SPIN], tmp_path) as program:
        program.start(lambda: _count(program))
        yield program


def _count(program: Program) -> str:
    file = program.folder / "count"
    return file.read_text() if file.exists() else ""


def _goes_on(program: Program) -> Callable[[], bool]:
    before = _count(program)
    return lambda: _count(program) not in ("", before)


def test_a_quota_holds_a_program_back_until_it_is_healed(spinning: Program) -> None:
    if missing := CpuQuota.missing():
        pytest.skip(missing)
    with CpuQuota(spinning.pid, share=0.05) as quota:
        eventually(lambda: quota.throttled > 3, 30, "it is held back")
        eventually(_goes_on(spinning), 30, "but not stopped")
        quota.heal()
        since = quota.throttled
        eventually(_goes_on(spinning), 30, "it goes on")
        assert quota.throttled <= since + 1
    eventually(_goes_on(spinning), 30, "it goes on when the quota is gone")


def _freezers() -> list[Hierarchy | None]:
    """By every means that this machine has."""
    first, second = cgroups.hierarchy("freezer"), cgroups.second_version()
    return [None, *dict.fromkeys(place for place in (first, second) if place is not None)]


@pytest.mark.parametrize("place", _freezers(), ids=lambda place: f"v{place.version}" if place else "signals")
def test_a_frozen_program_stands_still_until_it_is_healed(
    spinning: Program, place: Hierarchy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.faults.freezer.hierarchy", lambda _: place)
    with Freezer(spinning.pid) as freezer:
        freezer.freeze()
        eventually(lambda: _ticks(spinning.pid) == _ticks(spinning.pid), 30, "it stands")
        before = _ticks(spinning.pid), _count(spinning)
        with Program("other", [sys.executable, "-c", "print(sum(range(10_000_000)))"], spinning.folder) as other:
            other.start()
            assert other.wait(60) == 0
        assert (_ticks(spinning.pid), _count(spinning)) == before
        freezer.heal()
        eventually(_goes_on(spinning), 30, "it goes on")
        freezer.freeze()
    eventually(_goes_on(spinning), 30, "it goes on when the freezer is gone")


def _ticks(pid: int) -> int:
    """The processor time that it has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_group_goes_also_when_its_program_has_been_killed(spinning: Program) -> None:
    if missing := CpuQuota.missing():
        pytest.skip(missing)
    with CpuQuota(spinning.pid, share=0.5) as quota:
        spinning.kill()
    assert not quota._group.exists()


def test_a_clock_jumps_both_ways_while_time_outs_go_on_as_they_are(tmp_path: Path) -> None:
    if missing := JumpingClock.missing():
        pytest.skip(missing)
    clock = JumpingClock(tmp_path / "clock")
    with Program("clocks", [*clock.wrapper, sys.executable, "-c", _CLOCKS], tmp_path) as program:
        program.start(lambda: _offset(program) is not None)
        first = _offset(program)
        assert first is not None
        for seconds in (3600, -3600, 0):
            clock.jump(seconds)
            eventually(lambda by=seconds: _is_near(program, first + by), 30, f"its clock is {seconds} s off")
        monotonic = [float(line.split()[1]) for line in program.log_text().splitlines()[:-1]]
    assert all(0 < later - earlier < 3000 for earlier, later in itertools.pairwise(monotonic))


def test_threads_under_another_clock_leave_each_other_the_interpreter_for_a_turn(tmp_path: Path) -> None:
    if missing := JumpingClock.missing():
        pytest.skip(missing)
    clock = JumpingClock(tmp_path / "clock")
    with Program("turns", [*clock.wrapper, sys.executable, "-c", _TURNS], tmp_path) as program:
        program.start()
        assert program.wait(60) == 0
    waited = float(program.log_text())
    assert waited >= 0.9, "who waits for the interpreter asks for it after a turn, not at once"


def _offset(program: Program) -> float | None:
    """By how much its time of day is ahead of its monotonic clock, in the last whole line."""
    lines = program.log_text().split("\n")[:-1]
    if not lines:
        return None
    day, monotonic = map(float, lines[-1].split())
    return day - monotonic


def _is_near(program: Program, expected: float) -> bool:
    found = _offset(program)
    return found is not None and abs(found - expected) < 60


def test_a_small_disk_is_full_until_it_is_healed(tmp_path: Path) -> None:
    if missing := SmallDisk.missing():
        pytest.skip(missing)
    with SmallDisk(tmp_path / "disk", 2) as disk:
        disk.fill(leave=10_000)
        with pytest.raises(OSError, match="No space left"):
            (disk.root / "file").write_bytes(b"x" * 20_000)
        disk.fill()
        disk.fill()
        assert disk.used == 2 << 20
        disk.heal()
        (disk.root / "file").write_bytes(b"x" * 20_000)
        assert disk.used >= 20_000
    assert not list(disk.root.iterdir())
