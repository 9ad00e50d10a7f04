"""etcd: one private server, or an ensemble of them."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.certificates import Authority
from harness.ports import free_port
from harness.processes import Program, find_program

_HTTP_OK = 200


@dataclass(frozen=True)
class _Member:
    """A server's place in an ensemble."""

    name: str
    port: int
    peer: str

    @property
    def words(self) -> str:
        """How the others know it."""
        return f"{self.name}={self.peer}"


def _member(name: str) -> _Member:
    return _Member(name, free_port(), f"http://127.0.0.1:{free_port()}")


class Etcd(Program):
    """One server. What it has acknowledged survives a kill."""

    def __init__(
        self,
        folder: Path,
        member: _Member | None = None,
        members: Sequence[_Member] = (),
        authority: Authority | None = None,
    ) -> None:
        """Describe a server that keeps its data in ``folder``; ``ensemble`` gives the members of one that is not alone.

        With an ``authority`` clients must use TLS, and show a certificate of it.
        """
        member = member or _member("default")
        self.port = member.port
        self._context: ssl.SSLContext | None = None
        security: list[str] = []
        if authority is not None:
            # Where there are users too, the HTTP interface refuses clients whose certificates have a common name.
            own, clients = authority.issue(f"etcd-{self.port}"), authority.issue("harness", is_named=False)
            self._context = ssl.create_default_context(cafile=str(authority.file))
            self._context.load_cert_chain(clients.cert, clients.key)
            security = [f"--cert-file={own.cert}", f"--key-file={own.key}"]
            security += [f"--trusted-ca-file={authority.file}", "--client-cert-auth"]
        super().__init__(
            f"etcd-{self.port}",
            [
                find_program("etcd") or "etcd",
                f"--name={member.name}",
                f"--data-dir={folder / f'etcd-{self.port}'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls={member.peer}",
                f"--initial-advertise-peer-urls={member.peer}",
                f"--initial-cluster={','.join(each.words for each in members or [member])}",
                *security,
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
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it and wait until it says that it is healthy; a member is when most of its ensemble runs."""
        self.start(self.healthy)

    def healthy(self) -> bool:
        """Does it serve?"""
        if self._context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=self._context)
        try:
            connection.request("GET", "/health")
            response = connection.getresponse()
            return response.status == _HTTP_OK and b'"true"' in response.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def ensemble(folder: Path, size: int = 3) -> list[Etcd]:
    """Describe the servers of an ensemble; start all of them before waiting for any to be ``healthy``."""
    members = [_member(f"member{number}") for number in range(size)]
    return [Etcd(folder, member, members) for member in members]
