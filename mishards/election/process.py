"""Is the process that holds a lease certainly dead? Answered only for processes of this machine and this container.

A process is named by the boot of its kernel, its namespace of process ids, its id, and when it started; another
process that was given the same id later differs in the last.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEAD_STATES = ("Z", "X")


def identity() -> str:
    """This process, in words that only it can have."""
    return f"{_here()} {os.getpid()} {_started(os.getpid())}"


def is_dead(process: str) -> bool:
    """Is the process of that identity certainly gone? False for what cannot be seen from here."""
    words = process.split()
    if len(words) != 4 or words[:2] != _here().split() or not words[2].isdecimal():
        return False
    return _started(int(words[2])) != words[3]


def _here() -> str:
    return f"{_BOOT_ID.read_text().strip()} {Path('/proc/self/ns/pid').stat().st_ino}"


def _started(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty when there is none, or it has ended."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        if state not in _DEAD_STATES:
            return fields[18]
    return ""
