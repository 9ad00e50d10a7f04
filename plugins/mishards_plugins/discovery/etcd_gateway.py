"""etcd v3 over its JSON gateway, for the plugin ``etcd``: address, requests, and a client that tries all servers.

The requests are those of etcd's gRPC interface in protobuf's JSON form: bytes as base64, 64-bit numbers as text, and
what is zero or empty left out of replies.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from mishards.discovery.select import check_known_options
from mishards.errors import DiscoveryError, PluginError
from mishards_plugins.discovery.address import join_address, split_address
from mishards_plugins.discovery.http_watch import FAILURES, Access, refusal
from mishards_plugins.discovery.security import TLS_OPTIONS, Secret, Tls, secret_of, secret_options, tls_of

_UNAUTHORIZED = 401
_EXAMPLE = "etcd://HOST:PORT,HOST:PORT/PREFIX"


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """What the URI says; ``servers`` are URLs."""

    servers: tuple[str, ...]
    prefix: str
    ttl_s: int = 5
    tls: Tls | None = None
    user: str = ""
    password: Secret | None = None

    def access(self) -> Access:
        """How the servers are spoken to. Raises PluginError when a file cannot be used."""
        login = EtcdLogin(self.user, self.password) if self.password is not None else None
        return Access(None if self.tls is None else self.tls.context(), login)

    def key(self, node: str) -> str:
        """Where a node's record stands."""
        return f"{self.prefix}/{node}"


@dataclass(frozen=True, slots=True)
class Held:
    """A key with its value; ``lease`` is 0 for one that stays for ever."""

    key: str
    value: bytes
    lease: int
    changed_at: int


class EtcdLogin(httpx.Auth):
    """Asks a server for a token with user and password, and again when it is refused."""

    def __init__(self, user: str, password: Secret) -> None:
        self._user, self._password = user, password
        self._token = ""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the token along."""
        for fresh in (not self._token, True):
            if fresh:
                answer = yield self._question(request)
                answer.read()
                self._take(answer)
            request.headers["Authorization"] = self._token
            reply = yield request
            if fresh or reply.status_code != _UNAUTHORIZED:
                return

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The same on an event loop."""
        for fresh in (not self._token, True):
            if fresh:
                answer = yield self._question(request)
                await answer.aread()
                self._take(answer)
            request.headers["Authorization"] = self._token
            reply = yield request
            if fresh or reply.status_code != _UNAUTHORIZED:
                return

    def _question(self, request: httpx.Request) -> httpx.Request:
        url = request.url.copy_with(path="/v3/auth/authenticate")
        return httpx.Request("POST", url, json={"name": self._user, "password": self._password.read()})

    def _take(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise DiscoveryError(f"etcd does not let user {self._user} in: {refusal(answer)}")
        self._token = answer.json()["token"]


def parse(uri: str) -> EtcdOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    check_known_options(uri, set(query), {"ttl_s", "user", *TLS_OPTIONS, *secret_options("password")})
    prefix = unquote(parts.path).rstrip("/")
    if not parts.netloc or not prefix:
        raise PluginError(f"{uri} names no prefix on servers; expected {_EXAMPLE}")
    tls, user, password = tls_of(uri, query), query.get("user", [""])[0], secret_of(uri, query, "password")
    if (password is None) != (not user):
        raise PluginError(f"{uri}: expected user together with password_file or password_env")
    scheme = "http" if tls is None else "https"
    try:
        servers = tuple(f"{scheme}://{join_address(*split_address(piece, 2379))}" for piece in parts.netloc.split(","))
        ttl_s = int(query.get("ttl_s", ["5"])[0])
    except ValueError as error:
        raise PluginError(f"{uri}: {error}; expected {_EXAMPLE}?ttl_s=WHOLE_SECONDS") from error
    if not 1 <= ttl_s <= 120:
        raise PluginError(f"{uri}: ttl_s is outside 1..120")
    return EtcdOptions(servers, prefix, ttl_s, tls, user, password)


def below(prefix: str) -> dict[str, str]:
    """The range of all keys below a prefix; ``0`` is the character after the slash."""
    return {"key": _encoded(f"{prefix}/"), "range_end": _encoded(f"{prefix}0")}


def held(reply: Mapping[str, Any]) -> list[Held]:
    """What a range holds."""
    return [
        Held(
            base64.b64decode(found["key"]).decode(errors="replace"),
            base64.b64decode(found.get("value", "")),
            int(found.get("lease", 0)),
            int(found["mod_revision"]),
        )
        for found in reply.get("kvs", ())
    ]


def lines_result(line: str) -> dict[str, Any]:
    """One message of a stream. Raises ValueError when it tells of an error."""
    message: dict[str, Any] = json.loads(line)
    if "result" not in message:
        raise ValueError(f"etcd ended the stream: {line}")
    result: dict[str, Any] = message["result"]
    return result


class EtcdClient:
    """Asks one server after the other, beginning with the one that answered last. Not for two threads at once."""

    def __init__(self, options: EtcdOptions) -> None:
        self._servers = list(options.servers)
        self._http = options.access().client()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def grant(self, ttl_s: int) -> tuple[int, int]:
        """A new lease, and the seconds it really has. Raises DiscoveryError."""
        reply = self._ask("lease/grant", {"TTL": ttl_s})
        return int(reply["ID"]), int(reply["TTL"])

    def keep_alive(self, lease: int) -> bool:
        """Begin a lease's time anew; False when it is over. Raises DiscoveryError."""
        return int(self._ask("lease/keepalive", {"ID": lease})["result"].get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease, and its keys with it. Raises DiscoveryError."""
        self._ask("lease/revoke", {"ID": lease})

    def get(self, key: str) -> Held | None:
        """What stands under a key. Raises DiscoveryError."""
        return next(iter(held(self._ask("kv/range", {"key": _encoded(key)}))), None)

    def put(self, key: str, value: bytes, lease: int, changed_at: int) -> bool:
        """Write a key that was last changed at a revision, 0 for never; False when that is not so.

        Raises:
            DiscoveryError: no server answers.
        """
        condition = {"key": _encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(changed_at)}
        put = {"key": _encoded(key), "value": base64.b64encode(value).decode(), "lease": str(lease)}
        reply = self._ask("kv/txn", {"compare": [condition], "success": [{"request_put": put}]})
        return bool(reply.get("succeeded", False))

    def _ask(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        troubles = []
        for server in list(self._servers):
            try:
                reply = self._http.post(f"{server}/v3/{method}", json=body)
                reply.raise_for_status()
                answer: dict[str, Any] = reply.json()
            except FAILURES as error:
                troubles.append(f"{server}: {error!r}")
                self._servers.remove(server)
                self._servers.append(server)
            else:
                return answer
        raise DiscoveryError(f"etcd does not do {method}: {', '.join(troubles)}")


def takeover_s(ttl_s: int) -> float:
    """How long a dead process's key may still stand."""
    return math.ceil(1.5 * ttl_s) + 1


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
