"""Control groups of a test's own, in version 1 or 2, whichever the kernel has mounted."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.waiting import eventually

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = "cgroup.controllers"


@dataclass(frozen=True)
class Hierarchy:
    """Where groups with a controller can be made; ``version`` says which files they have."""

    folder: Path
    version: int


def hierarchy(controller: str) -> Hierarchy | None:
    """Return where groups with ``cpu`` or ``freezer`` can be made, or nothing."""
    first = _ROOT / controller
    if (first / "cgroup.procs").exists() and os.access(first, os.W_OK):
        return Hierarchy(first, 1)
    second = second_version()
    if second and (controller == "freezer" or controller in (second.folder / _CONTROLLERS).read_text().split()):
        return second
    return None


def second_version() -> Hierarchy | None:
    """Return where groups of version 2 can be made, alone or beside version 1, or nothing."""
    for folder in (_ROOT, _ROOT / "unified"):
        if (folder / _CONTROLLERS).exists() and os.access(folder, os.W_OK):
            return Hierarchy(folder, 2)
    return None


@contextlib.contextmanager
def group(place: Hierarchy, controller: str) -> Iterator[Path]:
    """Lend the folder of a new group; in the end its processes go back to where groups begin."""
    if place.version == 2 and controller != "freezer":  # every group of version 2 can be frozen
        (place.folder / "cgroup.subtree_control").write_text(f"+{controller}")
    made = place.folder / f"faults-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    try:
        yield made
    finally:
        eventually(lambda: _is_emptied(place, made), 30, lambda: f"{made} can be removed")


def add(made: Path, pid: int) -> None:
    """Move a process, with all its threads, into a group."""
    (made / "cgroup.procs").write_text(str(pid))


def _is_emptied(place: Hierarchy, made: Path) -> bool:
    for pid in (made / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):  # has ended meanwhile
            (place.folder / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):  # a process is still ending
        made.rmdir()
        return True
    return False
