"""HAProxy as a balancer of gRPC calls over several servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program

_CONFIGURATION = """\
global
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 600s
  timeout server 600s
  timeout check 1s
  option redispatch
  retry-on conn-failure empty-response
frontend routers
  bind 127.0.0.1:{port} proto h2
  default_backend servers
backend servers
  balance roundrobin
  default-server proto h2 check inter 500 fall 2 rise 1
"""


class HAProxy(Program):
    """A balancer on ``port``; each call goes to the next of the addresses, and to another one when that is down."""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        """Describe a balancer over ``host:port`` addresses."""
        self.port = free_port()
        configuration = folder / f"haproxy-{self.port}.cfg"
        servers = "".join(f"  server s{number} {address}\n" for number, address in enumerate(addresses))
        configuration.write_text(_CONFIGURATION.format(port=self.port) + servers)
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
