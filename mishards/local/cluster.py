"""Which processes make an embedded cluster, and how each is started.

A pure description: options in, processes out. It starts nothing, opens no file and asks the machine nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["router", "writable", "readonly"]

LOOPBACK = "127.0.0.1"
"""An embedded cluster listens here and nowhere else."""

_MODULE = (sys.executable, "-P", "-m") if sys.version_info >= (3, 11) else (sys.executable, "-m")
"""Runs a package that is installed, not one that lies in the current folder, of which Python 3.10 cannot be kept."""


def loopback(port: int) -> str:
    """The ``host:port`` of a port of this machine; 0 stands for any free one."""
    return f"{LOOPBACK}:{port}"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What a user decides about an embedded cluster. ``folder`` is absolute."""

    folder: Path
    port: int = 19530
    http_port: int = 19121
    writable: int = 1
    """How many may write; one of them leads, the others stand by."""
    readonly: int = 2
    routers: int = 1
    metadata: str | None = None
    """URI of the metadata database; None is a SQLite file in the folder."""
    discovery: str | None = None
    """URI of the discovery backend; None is a folder in the folder."""
    log_level: str = "info"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that must be there before a process starts."""
        own = [self.folder / "logs", self.folder / "storage"]
        if self.metadata is None:
            own.append(self.folder / "metadata")
        if self.discovery is None:
            own.append(self.folder / "discovery")
        return tuple(own)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: its name and role, and the command line without addresses and with them."""

    name: str
    role: Role
    program: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    address: str = loopback(0)
    http_address: str = loopback(0)

    def command(self, address: str) -> tuple[str, ...]:
        """The command line that makes the process listen on ``address``."""
        listen = ("--name", self.name, "--address", address, "--http-address", self.http_address)
        return (*self.program, *listen, *self.arguments)


def processes(options: ClusterOptions) -> tuple[ProcessSpec, ...]:
    """The processes of a cluster in the order in which they start: writable nodes, read-only nodes, routers.

    The first router listens on the ports asked for, the others on any free ones.
    """
    names = ["writable", *(f"writable-{number}" for number in range(2, options.writable + 1))]
    nodes = [_node(name, "writable", options) for name in names]
    nodes += [_node(f"readonly-{number}", "readonly", options) for number in range(1, options.readonly + 1)]
    routers = [_router(number, options) for number in range(1, options.routers + 1)]
    return (*nodes, *routers)


def _node(name: str, role: Role, options: ClusterOptions) -> ProcessSpec:
    program = (*_MODULE, "milvus_node", "serve", "--role", role)
    storage = ("--storage", str(options.folder / "storage"))
    return ProcessSpec(name, role, program, (*_shared_arguments(options), *storage))


def _router(number: int, options: ClusterOptions) -> ProcessSpec:
    program = (*_MODULE, "mishards", "serve")
    first = number == 1
    return ProcessSpec(
        f"router-{number}",
        "router",
        program,
        _shared_arguments(options),
        loopback(options.port if first else 0),
        loopback(options.http_port if first else 0),
    )


def _shared_arguments(options: ClusterOptions) -> tuple[str, ...]:
    metadata = options.metadata or f"sqlite:///{options.folder / 'metadata' / 'meta.sqlite'}"
    discovery = options.discovery or (options.folder / "discovery").as_uri()
    return ("--metadata", metadata, "--discovery", discovery, "--log-level", options.log_level)
