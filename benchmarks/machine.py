"""The machine that benchmarks run on: what it is, how busy it is, which programs and versions it has."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from mishards.transport.loop import is_compiled

QUIET_SHARE = 0.10
"""The share of all cores that others may use while a round begins."""
QUIET_WAIT_S = 5.0
"""How long to wait for that; then the round is measured all the same, and the load says so."""

_PINNED = "Routers, nginx and servers of transports had core 0 in turn; stand-in nodes and load shared core 1."
_LIBRARIES = ("numpy", "faiss-cpu", "grpcio", "protobuf", "uvloop")
_PROGRAMS = {"nginx": ("-v",), "h2load": ("--version",)}


class Skipped(Exception):
    """This benchmark cannot run here; the message says what is missing and how to get it."""


def program(name: str, package: str = "") -> str:
    """Return where a program is.

    Raises:
        Skipped: it is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Skipped(f"{name} is not installed (Debian: {package or name})")
    return found


def describe() -> dict[str, str]:
    """Return what a reader needs to know of the machine and of what is compared on it."""
    versions = {name: _version(name) for name in _LIBRARIES}
    for name, flags in _PROGRAMS.items():
        versions[name] = _program_version(name, flags)
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "compiled": f"Mishards' path of searches was {'compiled' if is_compiled() else 'not compiled'}.",
        "commit": _commit(),
        "pinned": _PINNED if can_pin() else "Nothing was kept on a core of its own: there is one, or no taskset.",
    }


def can_pin() -> bool:
    """Return whether there are several cores, and a program that keeps another on one."""
    return (os.cpu_count() or 1) > 1 and shutil.which("taskset") is not None


def load_average() -> float:
    """Return how many processes ran or waited for a core in the last minute."""
    return os.getloadavg()[0]


def busy_share(seconds: float = 0.5) -> float:
    """Watch the cores for so long: the share of their time that somebody used."""
    idle, total = _ticks()
    time.sleep(seconds)
    later_idle, later_total = _ticks()
    return 1 - (later_idle - idle) / max(later_total - total, 1)


def wait_until_quiet(limit_s: float = QUIET_WAIT_S) -> float:
    """Wait until others leave the cores alone, or so many seconds have passed; the share that they used last."""
    end = time.monotonic() + limit_s
    while (share := busy_share()) > QUIET_SHARE and time.monotonic() < end:
        pass
    return share


def _ticks() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _program_version(name: str, flags: tuple[str, ...]) -> str:
    try:
        done = subprocess.run([program(name), *flags], capture_output=True, text=True, check=False)
    except Skipped:
        return "none"
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _commit() -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
