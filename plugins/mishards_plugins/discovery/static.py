"""Discovery ``static``: nodes named in the configuration.

Features: whole sets yes; announces no; server needed none; IPv6 yes; names re-resolved yes.

Address form: ``static://?writable=HOST:PORT&readonly=HOST:PORT,HOST:PORT``; the port defaults to 19530, an IPv6
address stands in brackets.

Options (in the query):
    ``writable``: the writable node, or several.
    ``readonly``: the read-only nodes.
    ``weights``: ``HOST:PORT=2,…``; 1 where not given.
    ``resolve_s``: seconds between look-ups of names, default 10.

A host name with one address is one node under the name as written; with several it is one node per address. A name that
does not resolve keeps the addresses it had; one that never did stays a node under its name, for the transport to try.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from mishards.discovery.api import Listener, NodeRecord, NodeRole
from mishards.discovery.select import check_known_options
from mishards.errors import PluginError
from mishards_plugins.discovery.address import is_ip_address, join_address, split_address
from mishards_plugins.discovery.polled import PolledDiscovery
from mishards_plugins.discovery.reports import Found

log = logging.getLogger(__name__)

Resolve = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Host:
    """One entry of the configuration."""

    host: str
    port: int
    role: NodeRole
    weight: float

    @property
    def written(self) -> str:
        """The entry as ``host:port``."""
        return join_address(self.host, self.port)

    @property
    def is_name(self) -> bool:
        """Does it need to be looked up?"""
        return not is_ip_address(self.host)


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """What the URI says."""

    hosts: tuple[Host, ...]
    resolve_s: float = 10.0


def parse(uri: str) -> StaticOptions:
    """Read the URI. Raises PluginError."""
    query = parse_qs(urlsplit(uri).query, keep_blank_values=True)
    check_known_options(uri, set(query), {"writable", "readonly", "weights", "resolve_s"})
    try:
        weights = dict(_weight(piece) for piece in _pieces(query, "weights"))
        resolve_s = float(query.get("resolve_s", ["10"])[0])
        hosts = []
        for role in NodeRole:
            for piece in _pieces(query, role.value):
                host, port = split_address(piece)
                hosts.append(Host(host, port, role, weights.pop(join_address(host, port), 1.0)))
    except ValueError as error:
        raise PluginError(f"{uri}: {error}") from error
    if not hosts:
        raise PluginError(f"{uri} names no node; expected static://?writable=HOST:PORT&readonly=HOST:PORT,HOST:PORT")
    if weights:
        raise PluginError(f"{uri}: weights names {min(weights)}, which is no node of it")
    if len({host.written for host in hosts}) != len(hosts):
        raise PluginError(f"{uri} names a node twice")
    return StaticOptions(tuple(hosts), resolve_s)


def records(hosts: tuple[Host, ...], addresses: dict[str, list[str]]) -> frozenset[NodeRecord]:
    """The nodes of the entries, given the addresses each name has (none known: left to the transport); pure."""
    nodes: dict[str, NodeRecord] = {}
    for host in hosts:
        found = sorted(addresses.get(host.host, ())) or [host.host]
        for address in found:
            target = join_address(address, host.port)
            name = host.written if len(found) == 1 else target
            nodes.setdefault(name, NodeRecord(name, host.role, target, host.weight))
    return frozenset(nodes.values())


def resolve(host: str) -> list[str]:
    """The addresses of a name, by the system's resolver. Raises OSError."""
    return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})


class StaticDiscovery(PolledDiscovery):
    """Reports the configured nodes, and again when a name resolves differently."""

    def __init__(self, options: StaticOptions, resolve: Resolve = resolve) -> None:
        super().__init__("static", options.resolve_s)
        self._options = options
        self._resolve = resolve
        self._names = sorted({host.host for host in options.hosts if host.is_name})
        self._addresses: dict[str, list[str]] = {}

    def open(self, listener: Listener) -> None:
        """Report; only with names to look up there is more to come."""
        if self._names:
            super().open(listener)
        else:
            listener.nodes(records(self._options.hosts, {}))

    def look(self) -> tuple[Found, float]:
        """The nodes by what their names resolve to now."""
        self._look_up()
        return Found(records(self._options.hosts, self._addresses)), self._options.resolve_s

    def _look_up(self) -> None:
        for name in self._names:
            found = self._resolved(name)
            if found:
                self._addresses[name] = found

    def _resolved(self, name: str) -> list[str]:
        try:
            return self._resolve(name)
        except OSError as error:
            log.warning("host name %s does not resolve: %s", name, error)
            return []


class StaticPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> StaticDiscovery:
        """The nodes that the URI names."""
        return StaticDiscovery(parse(uri))


plugin = StaticPlugin()


def _pieces(query: dict[str, list[str]], key: str) -> list[str]:
    return [piece.strip() for value in query.get(key, []) for piece in value.split(",") if piece.strip()]


def _weight(piece: str) -> tuple[str, float]:
    address, separator, weight = piece.rpartition("=")
    if not separator or not float(weight) > 0:
        raise ValueError(f"weights has {piece!r}, expected HOST:PORT=NUMBER with a number above 0")
    return join_address(*split_address(address)), float(weight)
