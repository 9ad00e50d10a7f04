"""A private DNS server, dnsmasq."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program
from harness.waiting import eventually


class Dnsmasq(Program):
    """One server. It answers for every name below ``test`` and refuses all others."""

    def __init__(self, folder: Path) -> None:
        """Describe a server that keeps its lists in ``folder``; at first they are empty."""
        self.port = free_port()
        self._hosts, self._services = folder / "dnsmasq.hosts", folder / "dnsmasq.conf"
        self._hosts.touch()
        self._services.touch()
        super().__init__(
            f"dnsmasq-{self.port}",
            [
                find_program("dnsmasq") or "dnsmasq",
                "--no-daemon",
                "--pid-file=",
                f"--conf-file={self._services}",
                f"--port={self.port}",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--no-resolv",
                "--no-hosts",
                f"--addn-hosts={self._hosts}",
                "--local=/test/",
                "--local-ttl=1",
            ],
            folder,
        )

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("dnsmasq") else "dnsmasq is not installed (Debian: dnsmasq-base)"

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it and wait until it listens."""
        self.start(lambda: accepts_connections(self.port))

    def set_hosts(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Make these the addresses of names, and no others; a server that runs has read them on return."""
        self._hosts.write_text("".join(f"{ip} {name}\n" for name, found in hosts.items() for ip in found))
        if self.running:
            readings = self._readings()
            self.signal(signal.SIGHUP)
            eventually(lambda: self._readings() > readings, 10, lambda: f"{self.name} reads {self._hosts}")

    def set_services(self, services: Mapping[str, Sequence[str]]) -> None:
        """Make these the service records, each ``target,port,priority,weight``; a server that runs is restarted."""
        lines = [f"srv-host={name},{record}\n" for name, found in services.items() for record in found]
        self._services.write_text("".join(lines))
        if self.running:
            self.terminate()
            self.launch()

    def _readings(self) -> int:
        return self.log_text().count(f"read {self._hosts}")
