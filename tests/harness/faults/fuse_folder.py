"""A folder that shows another one, as storage over a network does, and can be told to hang, to fail or to be full."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

from harness.faults.fuse_fault import Fault, Kind
from harness.faults.privileges import Capability, lacks
from harness.processes import Program


class FuseFolder:
    """``mountpoint`` shows what is in ``real``. Faults hold for every call from the moment at which a method returns.

    A process of its own serves it, so that a hang never holds up the test, which must not look into ``mountpoint``
    meanwhile. Whoever hangs in a call cannot be killed until ``heal`` or ``close``, as with a hard mount of NFS. What
    the kernel has of a file that is open can still be read under any fault.
    """

    def __init__(self, real: Path, mountpoint: Path, folder: Path) -> None:
        """Describe it; ``folder`` is for its log and its fault."""
        self.mountpoint = mountpoint
        self._fault = folder / f"{mountpoint.name}.fault"
        command: list[str | Path] = [sys.executable, "-m", "harness.faults.fuse_program", real, mountpoint, self._fault]
        tests = Path(__file__).resolve().parents[2]
        self._program = Program(f"fuse-{mountpoint.name}", command, folder, environment={"PYTHONPATH": str(tests)})

    @staticmethod
    def missing() -> str:
        """Return what is not there, or nothing."""
        if lacks(Capability.SYS_ADMIN):
            return "this user may not mount a folder of FUSE (CAP_SYS_ADMIN)"
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "there is no /dev/fuse: the kernel has no FUSE, or this container may not use it"
        if not (find_library("fuse3") or find_library("fuse")):
            return "libfuse is not installed (Debian: fuse3)"
        if importlib.util.find_spec("mfusepy") is None:
            return "mfusepy is not installed (the extra `dev`)"
        return ""

    def __enter__(self) -> FuseFolder:
        self.mountpoint.mkdir(exist_ok=True)
        self.heal()
        try:
            self._program.start(self._is_mounted)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hang(self, under: str = "") -> None:
        """Let no call return."""
        self._become(Fault(Kind.HANG, under=under))

    def fail(self, number: int, under: str = "") -> None:
        """Let every call fail with this ``errno``, such as EIO or ESTALE."""
        self._become(Fault(Kind.FAIL, number=number, under=under))

    def fill(self) -> None:
        """Let every call that needs room fail with ENOSPC."""
        self._become(Fault(Kind.FULL))

    def slow(self, seconds: float, under: str = "") -> None:
        """Let every call take so much longer."""
        self._become(Fault(Kind.SLOW, seconds=seconds, under=under))

    def heal(self) -> None:
        """End the fault; what hung goes on."""
        self._become(Fault())

    def close(self) -> None:
        """End its process, at which whatever hangs fails, and unmount; may be called twice."""
        if self._program.running:
            self._program.kill()
        if self._is_mounted():
            subprocess.run(["umount", "--lazy", self.mountpoint], check=True, capture_output=True)
        self._program.close()

    def _is_mounted(self) -> bool:
        """Is it? The folder itself is not asked, for it may hang."""
        return f" {self.mountpoint} " in Path("/proc/mounts").read_text(encoding="utf-8")

    def _become(self, fault: Fault) -> None:
        fresh = self._fault.with_suffix(".new")
        fresh.write_bytes(fault.encoded())
        fresh.replace(self._fault)
