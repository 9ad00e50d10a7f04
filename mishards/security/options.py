"""Settings of TLS and of access, the same for routers and nodes; and those of the way from router to node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from mishards.errors import ConfigError
from mishards.options import about
from mishards.security.roles import ADMIN_ALLOWS, ANONYMOUS_ALLOWS, READ_ALLOWS, WRITE_ALLOWS, Role, check_entries
from mishards.security.tls import ClientTls, ServerTls

_NO_ROLES: Mapping[str, Role] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """TLS of the ports that a program listens on."""

    certificate: str = field(default="", metadata=about("PEM file of the server's certificate; empty is no TLS"))
    key: str = field(default="", metadata=about("PEM file of its key"))
    client_ca: str = field(
        default="", metadata=about("PEM file of authorities; given, clients need a certificate of theirs")
    )

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("tls.certificate and tls.key are given together or not at all")
        if self.client_ca and not self.certificate:
            raise ValueError("tls.client_ca needs tls.certificate and tls.key")

    @property
    def server(self) -> ServerTls | None:
        """What servers take; None is no TLS."""
        if not self.certificate:
            return None
        return ServerTls(Path(self.certificate), Path(self.key), Path(self.client_ca) if self.client_ca else None)


@dataclass(frozen=True, slots=True)
class NodeAccessOptions:
    """How a router shows itself to its nodes, and knows them; our commands likewise to servers."""

    ca: str = field(
        default="", metadata=about("PEM file of authorities that nodes' certificates are of; empty: no TLS")
    )
    certificate: str = field(default="", metadata=about("PEM file of the router's own certificate, for mutual TLS"))
    key: str = field(default="", metadata=about("PEM file of its key"))
    server_name: str = field(
        default="", metadata=about("name in the nodes' certificates; empty is the host in each address")
    )
    token: str = field(default="", metadata=about("token that the router shows to nodes", secret=True))
    token_file: str = field(default="", metadata=about("file with nothing but that token"))

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key are given together or not at all")
        if not self.ca and (self.certificate or self.server_name):
            raise ValueError("certificate and server_name need ca")
        if self.token and self.token_file:
            raise ValueError("token and token_file exclude each other")

    @property
    def client(self) -> ClientTls | None:
        """What channels take; None is no TLS."""
        if not self.ca:
            return None
        if not self.certificate:
            return ClientTls(Path(self.ca), server_name=self.server_name)
        return ClientTls(Path(self.ca), Path(self.certificate), Path(self.key), self.server_name)

    def bearer(self) -> str:
        """The token; reads its file. Raises ConfigError."""
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
            raise ConfigError(f"token_file = {self.token_file} cannot be read: {reason}") from None


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """Who may do what. Without tokens and certificates with roles everybody may do everything."""

    tokens_file: str = field(default="", metadata=about("file of tokens, a line each: NAME ROLE TOKEN"))
    tokens: str = field(default="", metadata=about("such lines, with ; between them", secret=True))
    certificate_roles: Mapping[str, Role] = field(
        default_factory=lambda: _NO_ROLES,
        metadata=about("roles of clients by a name in their certificate: NAME=ROLE,…; needs tls.client_ca"),
    )
    anonymous_allows: tuple[str, ...] = field(
        default=ANONYMOUS_ALLOWS, metadata=about("what may be done with neither: METHOD, Cmd:WORDS, http:/PATH")
    )
    read_allows: tuple[str, ...] = field(default=READ_ALLOWS, metadata=about("what the role read may do beyond that"))
    write_allows: tuple[str, ...] = field(
        default=WRITE_ALLOWS, metadata=about("what the role write may do beyond that")
    )
    admin_allows: tuple[str, ...] = field(
        default=ADMIN_ALLOWS, metadata=about("what the role admin may do beyond that; * is everything")
    )
    client_calls_per_s: float = field(
        default=0.0, metadata=about("calls a second that one client may make; 0 is no limit", minimum=0)
    )
    client_burst: int = field(default=100, metadata=about("calls that one may make at once, out of turn", minimum=1))
    client_max_calls: int = field(
        default=0, metadata=about("calls of one client that may be under way at once; 0 is no limit", minimum=0)
    )

    def __post_init__(self) -> None:
        check_entries((*self.anonymous_allows, *self.read_allows, *self.write_allows, *self.admin_allows))

    @property
    def enforced(self) -> bool:
        """Must callers say who they are?"""
        return bool(self.tokens_file or self.tokens or self.certificate_roles)
