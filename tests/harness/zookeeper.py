"""ZooKeeper: one server, or an ensemble of them; quick sessions, so that losing one does not take long."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.certificates import Authority
from harness.ports import free_port
from harness.processes import Program, find_program, unprivileged

_JAVA_LIBRARIES = Path("/usr/share/java")
_JARS = [_JAVA_LIBRARIES / name for name in ("zookeeper.jar", "slf4j-api.jar", "slf4j-simple.jar")]

_CONFIGURATION = """\
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
tickTime=500
minSessionTimeout=500
initLimit=10
syncLimit=4
4lw.commands.whitelist=*
admin.enableServer=false
"""
_SECURE = """\
secureClientPort={port}
secureClientPortAddress=127.0.0.1
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location={own}
ssl.keyStore.type=PEM
ssl.trustStore.location={authority}
ssl.trustStore.type=PEM
"""

_NETTY_PARTS = ("all", "buffer", "codec", "common", "handler", "resolver", "transport", "transport-native-epoll")
_NETTY = [_JAVA_LIBRARIES / f"netty-{part}.jar" for part in (*_NETTY_PARTS, "transport-native-unix-common", "tcnative")]
"""What ZooKeeper needs for TLS; Debian's package of ZooKeeper depends on it."""


@dataclass(frozen=True)
class _Member:
    """A server's place in an ensemble; the number begins with 1."""

    number: int
    port: int
    peer_port: int
    election_port: int

    @property
    def line(self) -> str:
        """Its line in the configuration of every member."""
        return f"server.{self.number}=127.0.0.1:{self.peer_port}:{self.election_port}\n"


class ZooKeeper(Program):
    """One server. What it has acknowledged survives a kill."""

    def __init__(
        self,
        folder: Path,
        member: _Member | None = None,
        members: Sequence[_Member] = (),
        authority: Authority | None = None,
    ) -> None:
        """Describe a server that stands alone; ``ensemble`` gives the members to one that does not.

        ``folder`` belongs to the user that it runs as. With an ``authority`` it listens at ``secure_address`` too,
        where clients must show a certificate of it.
        """
        self.port = member.port if member else free_port()
        data = folder / f"zookeeper-{self.port}"
        data.mkdir()
        configuration = folder / f"zookeeper-{self.port}.cfg"
        text = _CONFIGURATION.format(data=data, port=self.port)
        configuration.write_text(text + "".join(each.line for each in members) + self._secure(folder, authority))
        if member:
            (data / "myid").write_text(str(member.number))
        data.chmod(0o777)  # the server is another user
        options = ["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        classes = [
            "-cp",
            ":".join(map(str, [*_JARS, *(_NETTY if authority else [])])),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        ]
        super().__init__(
            f"zookeeper-{self.port}",
            unprivileged([find_program("java") or "java", *options, *classes, configuration]),
            folder,
        )

    def _secure(self, folder: Path, authority: Authority | None) -> str:
        self._secure_port = free_port()
        if authority is None:
            return ""
        own = authority.issue(f"zookeeper-{self.port}")
        for path in (own.both, authority.file):
            path.chmod(0o644)  # the server is another user
        return _SECURE.format(port=self._secure_port, own=own.both, authority=authority.file)

    @property
    def secure_address(self) -> str:
        """Where clients connect with TLS."""
        return f"127.0.0.1:{self._secure_port}"

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        if find_program("java") and all(jar.exists() for jar in _JARS):
            return ""
        return "ZooKeeper is not installed (Debian: libzookeeper-java, libslf4j-java, default-jre-headless)"

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it and wait until it serves; a member serves when most of its ensemble runs."""
        self.start(self.mode)

    def mode(self) -> str:
        """Return ``standalone``, ``leader`` or ``follower``, and nothing while it does not serve."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"srvr")
                answer = b"".join(iter(lambda: connection.recv(4_096), b"")).decode()
        except OSError:
            return ""
        return answer.partition("Mode: ")[2].partition("\n")[0]


def ensemble(folder: Path, size: int = 3) -> list[ZooKeeper]:
    """Describe the servers of an ensemble; start all of them before waiting for ``mode`` of any."""
    members = [_Member(number, free_port(), free_port(), free_port()) for number in range(1, size + 1)]
    return [ZooKeeper(folder, member, members) for member in members]
