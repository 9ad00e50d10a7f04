"""Programs that stand still: frozen by the kernel, or stopped by a signal where it cannot."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from harness.faults.cgroups import Hierarchy, add, group, hierarchy
from harness.waiting import eventually


class Freezer:
    """Freezes some processes with all their threads at ``freeze``, until ``heal``; nobody is told, no signal is seen.

    A process that waits for storage that hangs cannot be frozen.
    """

    def __init__(self, *pids: int) -> None:
        """Describe it; nothing happens yet."""
        self._pids = pids
        self._open = contextlib.ExitStack()
        self._place: Hierarchy | None = None
        self._group = Path()

    @staticmethod
    def missing() -> str:
        """Return nothing: where there are no control groups, signals do."""
        return ""

    def __enter__(self) -> Freezer:
        self._place = hierarchy("freezer")
        if self._place is not None:
            self._group = self._open.enter_context(group(self._place, "freezer"))
            with contextlib.ExitStack() as undo:
                undo.push(self._open)
                for pid in self._pids:
                    add(self._group, pid)
                self._open = undo.pop_all()
        self._open.callback(self.heal)  # before its group goes
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def freeze(self) -> None:
        """Let them stand still; when it returns, they do."""
        self._become(frozen=True)

    def heal(self) -> None:
        """Let them go on."""
        self._become(frozen=False)

    def _become(self, *, frozen: bool) -> None:
        if self._place is None:
            for pid in self._pids:
                with contextlib.suppress(ProcessLookupError):  # has been killed meanwhile
                    os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)
            return
        if self._place.version == 1:
            wanted = "FROZEN" if frozen else "THAWED"
            (self._group / "freezer.state").write_text(wanted)
            eventually(lambda: self._said("freezer.state") == wanted, 30, lambda: f"{self._pids} become {wanted}")
        else:
            (self._group / "cgroup.freeze").write_text(str(int(frozen)))
            line = f"frozen {int(frozen)}"
            eventually(lambda: line in self._said("cgroup.events"), 30, lambda: f"{self._pids} become {line}")

    def _said(self, name: str) -> str:
        return (self._group / name).read_text().strip()
