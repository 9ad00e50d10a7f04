"""HAProxy in front of several routers, with the configuration of ``deploy/haproxy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.deployed import DEPLOY, changed
from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program

_CONFIGURATION = DEPLOY / "haproxy" / "haproxy.cfg"
_SERVERS = "".join(f"  server router-{number} router-{number}:19530\n" for number in (1, 2))
"""As they stand in the file, once for reads and once for writes."""


class HAProxy(Program):
    """A balancer on ``port``; each call goes to the next of the addresses, and to another one when that is down."""

    def __init__(self, folder: Path, addresses: Sequence[str], ready_ports: Sequence[int] = ()) -> None:
        """Describe a balancer over ``host:port`` addresses.

        Args:
            folder: For its configuration and its log.
            addresses: Where calls go.
            ready_ports: The HTTP port of each, where ``/readyz`` is asked; without them it is enough to connect.
        """
        self.port = free_port()
        ports = [str(port) for port in ready_ports] or [address.rpartition(":")[2] for address in addresses]
        servers = "".join(
            f"  server s{number} {address} port {port}\n"
            for number, (address, port) in enumerate(zip(addresses, ports, strict=True))
        )
        changes = {_SERVERS: servers, "bind :19530 ": f"bind 127.0.0.1:{self.port} "}
        if not ready_ports:
            changes["  option httpchk GET /readyz\n  http-check connect proto h1\n"] = ""
        configuration = folder / f"haproxy-{self.port}.cfg"
        configuration.write_text(changed(_CONFIGURATION.read_text(encoding="utf-8"), changes), encoding="utf-8")
        super().__init__(
            f"haproxy-{self.port}", [find_program("haproxy") or "haproxy", "-db", "-f", configuration], folder
        )

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("haproxy") else "HAProxy is not installed (Debian: haproxy)"

    def launch(self) -> None:
        """Start it and wait until it listens."""
        self.start(lambda: accepts_connections(self.port))
