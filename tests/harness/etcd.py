"""A private etcd server."""

from __future__ import annotations

import http.client
from pathlib import Path

from harness.ports import free_port
from harness.processes import Program, find_program

_HTTP_OK = 200


class Etcd(Program):
    """One server. What it has acknowledged survives a kill."""

    def __init__(self, folder: Path) -> None:
        """Describe a server that keeps its data in ``folder``."""
        self.port = free_port()
        client, peer = self.url, f"http://127.0.0.1:{free_port()}"
        super().__init__(
            f"etcd-{self.port}",
            [
                find_program("etcd") or "etcd",
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
            folder,
        )

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("etcd") else "etcd is not installed (Debian: etcd-server)"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it and wait until it says that it is healthy."""
        self.start(self.healthy)

    def healthy(self) -> bool:
        """Does it serve?"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            return response.status == _HTTP_OK and b'"true"' in response.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
