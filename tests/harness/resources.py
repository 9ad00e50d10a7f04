"""What running programs hold: threads, descriptors and memory, each with the processes that it started (Linux)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.processes import Program

_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What a program holds at one moment; ``resident`` in bytes."""

    threads: int = 0
    descriptors: int = 0
    resident: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.threads + other.threads, self.descriptors + other.descriptors, self.resident + other.resident)


@dataclass(frozen=True)
class Allowance:
    """By how much a program may hold more than before; ``resident`` in bytes, or as a share, whichever is more."""

    threads: int = 8
    descriptors: int = 12
    resident: int = 48 << 20
    resident_share: float = 0.25

    def excess(self, before: Usage, after: Usage) -> str:
        """What a program holds beyond that, or nothing."""
        resident = max(self.resident, int(before.resident * self.resident_share))
        found = [
            f"{before.threads} threads became {after.threads}" * (after.threads > before.threads + self.threads),
            f"{before.descriptors} descriptors became {after.descriptors}"
            * (after.descriptors > before.descriptors + self.descriptors),
            f"{before.resident >> 20} MB became {after.resident >> 20}" * (after.resident > before.resident + resident),
        ]
        return ", ".join(filter(None, found))


def usage_of(pid: int) -> Usage:
    """What a process and those below it hold; nothing where it has ended."""
    return sum((_own(process) for process in _tree(pid)), Usage())


def usages(programs: Mapping[str, Program]) -> dict[str, Usage]:
    """What each program that runs holds, by name."""
    return {name: usage_of(program.pid) for name, program in programs.items() if program.running}


def _own(pid: int) -> Usage:
    folder = _PROC / str(pid)
    with contextlib.suppress(OSError):  # it ended meanwhile
        fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        if "VmRSS" in fields:
            descriptors = sum(1 for _ in (folder / "fd").iterdir())
            return Usage(int(fields["Threads"]), descriptors, int(fields["VmRSS"].split()[0]) << 10)
    return Usage()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in _PROC.glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            for child in task.read_text().split():
                yield from _tree(int(child))
