"""The address of the plugin ``consul``, and what follows from it alone."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from mishards.discovery.select import check_known_options
from mishards.errors import PluginError
from mishards_plugins.discovery.address import join_address, split_address
from mishards_plugins.discovery.http_watch import Access, SecretHeader
from mishards_plugins.discovery.security import TLS_OPTIONS, Secret, Tls, secret_of, secret_options, tls_of

_EXAMPLE = "consul://HOST:PORT/SERVICE"


@dataclass(frozen=True, slots=True)
class ConsulOptions:
    """What the URI says; ``servers`` are URLs."""

    servers: tuple[str, ...]
    service: str
    ttl_s: int = 5
    wait_s: float = 10.0
    dc: str = ""
    tag: str = ""
    tls: Tls | None = None
    token: Secret | None = None

    @property
    def health_path(self) -> str:
        """Where the instances of the service are asked for."""
        return f"/v1/health/service/{quote(self.service, safe='')}"

    def selection(self) -> dict[str, str]:
        """Which instances are asked for."""
        asked = {"passing": "true", "dc": self.dc, "tag": self.tag}
        return {name: value for name, value in asked.items() if value}

    def access(self) -> Access:
        """How the agents are spoken to. Raises PluginError when a file cannot be used."""
        auth = SecretHeader("X-Consul-Token", "", self.token) if self.token is not None else None
        return Access(None if self.tls is None else self.tls.context(), auth)


def parse(uri: str) -> ConsulOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    known = {"ttl_s", "wait_s", "dc", "tag", *TLS_OPTIONS, *secret_options("token")}
    check_known_options(uri, set(query), known)
    service = unquote(parts.path).strip("/")
    if not parts.netloc or not service or "/" in service:
        raise PluginError(f"{uri} names no service at an agent; expected {_EXAMPLE}")
    tls = tls_of(uri, query)
    scheme = "http" if tls is None else "https"
    try:
        servers = tuple(f"{scheme}://{join_address(*split_address(piece, 8500))}" for piece in parts.netloc.split(","))
        ttl_s, wait_s = int(query.get("ttl_s", ["5"])[0]), float(query.get("wait_s", ["10"])[0])
    except ValueError as error:
        raise PluginError(f"{uri}: {error}; expected {_EXAMPLE}?ttl_s=WHOLE_SECONDS&wait_s=SECONDS") from error
    if not 1 <= ttl_s <= 120 or not 0.1 <= wait_s <= 600:
        raise PluginError(f"{uri}: ttl_s is outside 1..120, or wait_s outside 0.1..600")
    dc, tag = (query.get(name, [""])[0] for name in ("dc", "tag"))
    return ConsulOptions(servers, service, ttl_s, wait_s, dc, tag, tls, secret_of(uri, query, "token"))
