"""Our own programs, started as a user starts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.ports import free_port
from harness.processes import Program
from harness.programs import MISHARDS, NODE, program

_READY = re.compile(rb"^ready (\S+)$", re.MULTILINE)


class Server(Program):
    """A program that prints ``ready HOST:PORT`` once it serves."""

    def launch(self, timeout_s: float = 60) -> str:
        """Start it, or start it again, and return its address once it serves."""
        seen = len(self._ready_lines())
        self.start(lambda: len(self._ready_lines()) > seen, timeout_s)
        return self.address

    @property
    def address(self) -> str:
        """Where it serves, by its last ``ready`` line."""
        return self._ready_lines()[-1]

    def _ready_lines(self) -> list[str]:
        return [found.decode() for found in _READY.findall(self.log.read_bytes())] if self.log.exists() else []


def node(folder: Path, *, role: str = "writable", name: str = "", flags: Sequence[str] = ()) -> Server:
    """A node on the data in ``folder/data``; its address stays the same over restarts."""
    command = [
        *(*program(NODE), "serve", "--role", role),
        *("--address", f"127.0.0.1:{free_port()}", "--http-address", f"127.0.0.1:{free_port()}"),
        *("--storage", str(folder / "data"), "--metadata", f"sqlite:///{folder / 'data' / 'meta.sqlite'}"),
    ]
    return Server(name or role, [*command, *flags], folder)


def cluster(folder: Path, flags: Sequence[str] = ()) -> Server:
    """An embedded cluster with its data in ``folder/cluster``."""
    command = [
        *(*program(MISHARDS), "local", "--dir", str(folder / "cluster")),
        *("--port", str(free_port()), "--http-port", str(free_port())),
    ]
    return Server("cluster", [*command, *flags], folder, logs=folder / "cluster" / "logs")
