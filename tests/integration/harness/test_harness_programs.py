from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.ports import accepts_connections, free_port
from harness.processes import Program, open_programs
from harness.waiting import eventually, eventually_async

_COUNT_SIGNALS = """
import signal, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
while True:
    signal.pause()
"""


def _child_is_named(program: Program) -> Callable[[], bool]:
    return lambda: "child" in program.log_text()


def _state(pid: int) -> str:
    """The letter that the kernel gives a process: S sleeping, T stopped, and so on; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program("waits", [sys.executable, "-c", _COUNT_SIGNALS], tmp_path, environment={"SHOWN": "1"})


def test_a_program_is_started_when_it_is_ready_and_asked_to_end(program: Program) -> None:
    with program:
        program.start(_child_is_named(program))
        assert program.running
        assert program in open_programs()
        assert program.terminate() == 3
        assert program.exit_code == 3
    assert program not in open_programs()


def test_a_program_is_killed_and_started_again(program: Program) -> None:
    with program:
        program.start(_child_is_named(program))
        program.kill()
        assert program.exit_code == -signal.SIGKILL
        program.start(lambda: program.log_text().count("child") == 2)
        assert program.running


def test_a_paused_program_stands_still_until_it_is_resumed(program: Program) -> None:
    with program:
        program.start(_child_is_named(program))
        program.pause()
        eventually(lambda: _state(program.pid) == "T", 5, "the program is stopped")
        program.resume()
        eventually(lambda: _state(program.pid) in "SR", 5, "the program goes on")


def test_closing_a_program_ends_its_children_too(program: Program) -> None:
    with program:
        program.start(_child_is_named(program))
        child = int(program.log_text().split()[1])
    eventually(lambda: _state(child) in ("", "Z"), 5, "the child has ended")


def test_a_program_that_ends_instead_of_getting_ready_shows_its_log(tmp_path: Path) -> None:
    with (
        Program("fails", [sys.executable, "-c", "print('no such luck'); raise SystemExit(7)"], tmp_path) as program,
        pytest.raises(AssertionError, match=r"fails ended with 7(.|\n)*no such luck"),
    ):
        program.start(lambda: False)


def test_the_log_tail_has_the_logs_of_the_programs_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "node-1.log").write_text("a\nb\nlast words\n")
    with Program("prints", ["echo", "first words"], tmp_path, logs=tmp_path / "below") as program:
        program.start()
        assert program.wait(10) == 0
        assert program.log_tail(1).splitlines() == ["first words", "--- node-1.log", "last words"]


def test_a_free_port_is_free_and_handed_out_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not any(accepts_connections(port) for port in ports)


async def test_waiting_ends_with_the_first_truthy_value_or_with_the_message() -> None:
    answers = iter([0, "", 5])
    assert eventually(lambda: next(answers), 5, "an answer comes") == 5
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: pigs fly"):
        eventually(lambda: False, 0.05, "pigs fly")

    async def never() -> bool:
        return False

    with pytest.raises(AssertionError, match=f"process {os.getpid()} flies"):
        await eventually_async(never, 0.05, lambda: f"process {os.getpid()} flies")
