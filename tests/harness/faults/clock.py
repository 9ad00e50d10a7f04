"""A clock of one program's own that jumps when the test says so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_FAKED = Path(__file__).parent / "faked"
_LIBRARIES = "lib/*/faketime/libfaketimeMT.so.1"


class JumpingClock:
    """Of every program that ``wrapper`` starts; only the time of day jumps, time-outs and pauses go on as they are.

    That is how a clock behaves that an administrator or a time server sets.
    """

    def __init__(self, file: Path) -> None:
        """Describe a clock that is right; ``file`` holds by how much it is wrong."""
        self._file = file
        self._set("+0")

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if _library() else "libfaketime is not installed (Debian: faketime)"

    @property
    def wrapper(self) -> Sequence[str]:
        """What to put before a program's command."""
        return (
            "env",
            f"LD_PRELOAD={_library()}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_FORCE_MONOTONIC_FIX=0",  # else threads that wait for the interpreter do so without a pause
            "NO_FAKE_STAT=1",
            "PYTHONPATH=" + os.pathsep.join(filter(None, (str(_FAKED), os.environ.get("PYTHONPATH")))),
        )

    def jump(self, seconds: float) -> None:
        """Let it be so far ahead of the true time, or behind when negative."""
        self._set(f"{seconds:+g}")

    def heal(self) -> None:
        """Let it be right again: jump back."""
        self._set("+0")

    def _set(self, text: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text + "\n")
        fresh.replace(self._file)  # the library may read at any moment


def _library() -> Path | None:
    return next(iter(Path("/usr").glob(_LIBRARIES)), None)
