"""nginx in front of several routers, with the configuration of ``deploy/nginx``."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from harness.deployed import DEPLOY, changed
from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program

_CONFIGURATION = DEPLOY / "nginx" / "nginx.conf"
_SERVERS = "".join(
    f"    server router-{number}:19530 max_fails=1 fail_timeout=1s;\n"  # as they stand in the file
    for number in (1, 2)
)


class Nginx(Program):
    """A balancer on ``port``; each call goes to the next of the addresses, and to another one when that is down."""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        """Describe a balancer over ``host:port`` addresses, in a folder of its own."""
        self.port = free_port()
        self._configuration = folder / "nginx.conf"
        super().__init__(
            f"nginx-{self.port}",
            [find_program("nginx") or "nginx", "-p", folder, "-c", self._configuration, "-e", "stderr"],
            folder,
        )
        self.balance(addresses)

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("nginx") else "nginx is not installed (Debian: nginx-light)"

    def launch(self) -> None:
        """Start it and wait until it listens."""
        self.start(lambda: accepts_connections(self.port))

    def balance(self, addresses: Sequence[str]) -> None:
        """Go on over these addresses; calls under way end at the old ones."""
        servers = "".join(f"    server {address} max_fails=1 fail_timeout=1s;\n" for address in addresses)
        text = changed(
            _CONFIGURATION.read_text(encoding="utf-8"),
            {
                _SERVERS: servers,
                "listen 19530 http2;": f"listen 127.0.0.1:{self.port} http2;",
                "/dev/stderr": "stderr",
                "/tmp/": f"{self.folder}/",  # noqa: S108 - what is replaced
            },
        )
        self._configuration.write_text("daemon off;\n" + text, encoding="utf-8")
        if self.running:
            self.signal(signal.SIGHUP)
