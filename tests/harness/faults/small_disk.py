"""A small file system of a test's own, to be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from harness.faults.privileges import Capability, lacks

_TRIES = 1000


class SmallDisk:
    """A file system in memory of so many megabytes, mounted on ``root``, a folder."""

    def __init__(self, root: Path, megabytes: int) -> None:
        """Describe it; nothing is mounted yet."""
        self.root = root
        self._megabytes = megabytes
        self._filler = root / "filler"

    @staticmethod
    def missing() -> str:
        """Return what is not there, or nothing."""
        return "this user may not mount a small disk (CAP_SYS_ADMIN)" if lacks(Capability.SYS_ADMIN) else ""

    def __enter__(self) -> SmallDisk:
        self.root.mkdir(exist_ok=True)
        command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "small", self.root]
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
        if mounted.returncode:
            raise AssertionError(f"no small disk can be mounted: {mounted.stderr}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.root], check=True)

    def fill(self, *, leave: int = 0) -> None:
        """Take all the room but ``leave`` bytes, also while others write."""
        with self._filler.open("ab") as file:
            for _ in range(_TRIES):
                state = os.statvfs(self.root)
                left = state.f_bavail * state.f_frsize - leave
                if left <= 0:
                    return
                with contextlib.suppress(OSError):  # somebody has taken room meanwhile
                    os.posix_fallocate(file.fileno(), file.tell(), left)
                file.seek(0, os.SEEK_END)
        raise AssertionError(f"{self.root} does not get full: others free room as fast as it is taken")

    def heal(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    @property
    def used(self) -> int:
        """The bytes that are taken."""
        state = os.statvfs(self.root)
        return (state.f_blocks - state.f_bfree) * state.f_frsize
