"""The connection of the plugin ``zookeeper``, its address and the names of its entries.

kazoo's threads only ever set an event: whoever talks to ZooKeeper is a thread of ours.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.security import make_digest_acl

from mishards.discovery.select import check_known_options
from mishards.errors import DiscoveryError, PluginError
from mishards_plugins.discovery.address import join_address, split_address
from mishards_plugins.discovery.security import TLS_OPTIONS, Secret, Tls, secret_of, secret_options, tls_of

log = logging.getLogger(__name__)

_EXAMPLE = "zookeeper://HOST:PORT,HOST:PORT/PATH"
ANSWER_S = 2.0
CLOSE_S = 1.5
# Without a bound kazoo's pauses grow to an hour.
_RETRY: dict[str, float] = {"max_tries": -1, "delay": 0.1, "max_delay": 1.0}


@dataclass(frozen=True, slots=True)
class ZooKeeperOptions:
    """What the URI says."""

    hosts: str
    path: str
    session_s: float = 4.0
    tls: Tls | None = None
    user: str = ""
    password: Secret | None = None

    @property
    def takeover_s(self) -> float:
        """How long a dead process's entry may still stand; servers look at sessions once in a tick."""
        return 1.5 * self.session_s + 1

    def security(self) -> dict[str, Any]:
        """What kazoo is to be told of TLS and of who we are. Raises DiscoveryError when the password is away."""
        told: dict[str, Any] = {}
        if self.tls is not None:
            told |= {"use_ssl": True, "ca": self.tls.ca or None, "certfile": self.tls.cert or None}
            told |= {"keyfile": self.tls.key or self.tls.cert or None, "check_hostname": True}
        if self.password is not None:
            password = self.password.read()
            told |= {"auth_data": [("digest", f"{self.user}:{password}")]}
            told |= {"default_acl": [make_digest_acl(self.user, password, all=True)]}
        return told


def parse(uri: str) -> ZooKeeperOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    check_known_options(uri, set(query), {"session_s", "user", *TLS_OPTIONS, *secret_options("password")})
    path = unquote(parts.path).rstrip("/")
    if not parts.netloc or not path or "//" in path:
        raise PluginError(f"{uri} names no path on servers; expected {_EXAMPLE}")
    try:
        hosts = ",".join(join_address(*split_address(piece, 2181)) for piece in parts.netloc.split(","))
        session_s = float(query.get("session_s", ["4"])[0])
    except ValueError as error:
        raise PluginError(f"{uri}: {error}; expected {_EXAMPLE}?session_s=SECONDS") from error
    if not 0.5 <= session_s <= 120:
        raise PluginError(f"{uri}: session_s is outside 0.5..120")
    user, password = query.get("user", [""])[0], secret_of(uri, query, "password")
    if (password is None) != (not user) or ":" in user:
        raise PluginError(f"{uri}: expected user, without a colon, together with password_file or password_env")
    return ZooKeeperOptions(hosts, path, session_s, tls_of(uri, query), user, password)


def entry_name(node: str) -> str:
    """The name of a node's entry; characters that are awkward in one become ``%XX``."""
    quoted = quote(node, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


class Session:
    """A connection that is made again for ever, and an event for everything that is heard on it."""

    def __init__(self, options: ZooKeeperOptions, changed: threading.Event | None = None) -> None:
        """``changed`` is the event; one of its own without. Raises DiscoveryError when a secret is away."""
        self.changed = changed or threading.Event()
        self._servers = options.hosts
        logging.getLogger("kazoo.client").setLevel(logging.INFO)  # below, it tells passwords
        self._client = KazooClient(
            options.hosts,
            timeout=options.session_s,
            connection_retry=_RETRY,
            command_retry=_RETRY,
            **options.security(),
        )
        self._client.add_listener(self._wake)
        self._connected = self._client.start_async()

    @property
    def connected(self) -> bool:
        """Is there a connection now?"""
        return bool(self._connected.is_set())

    @property
    def number(self) -> int | None:
        """The session's id; None before the first."""
        identity = self._client.client_id
        return identity[0] if identity else None

    def wait_connected(self, seconds: float) -> None:
        """Return once there is a connection. Raises DiscoveryError."""
        if not self._connected.wait(seconds):
            raise self.absence()

    def absence(self) -> DiscoveryError:
        """What to say when there is no connection."""
        return DiscoveryError(f"no connection to ZooKeeper at {self._servers}")

    def begin(self, operation: str, path: str, *arguments: Any, **options: Any) -> Any:
        """Send an operation of kazoo's, to be awaited with ``answer``."""
        return getattr(self._client, f"{operation}_async")(path, *arguments, **options)

    def watch(self, operation: str, path: str) -> Any:
        """Send a read that sets ``changed`` when what it read changes."""
        return self.begin(operation, path, watch=self._wake)

    def answer(self, result: Any) -> Any:
        """What an operation came to. Raises KazooException or KazooTimeoutError."""
        return result.get(timeout=ANSWER_S)

    def close(self) -> None:
        """End the session; a server that does not answer is not waited for."""
        closing = threading.Thread(target=self._stop, name="discovery-zookeeper-close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _stop(self) -> None:
        try:
            self._client.stop()
            self._client.close()
        except KazooException as error:
            log.warning("the session with ZooKeeper at %s is left to expire: %r", self._servers, error)

    def _wake(self, _event: object) -> None:
        self.changed.set()
