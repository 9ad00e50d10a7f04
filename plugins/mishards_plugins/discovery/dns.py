"""Discovery ``dns``: nodes that a name service lists, by address or by service records.

Features: whole sets yes; announces no; server any DNS server; IPv6 yes; changes seen when the answers' TTL has passed.

Address form: ``dns://HOST:PORT?writable=HOST:PORT``, where every A and AAAA record is a node, or
``dns+srv://_SERVICE._tcp.DOMAIN?writable=_SERVICE._tcp.DOMAIN``, where every SRV record (RFC 2782) is one.

Options (in the query):
    ``role``: what the nodes of the first name are, ``readonly`` (the default) or ``writable``.
    ``writable``: where the writable node is listed; a node that both list is writable.
    ``server``: ``ADDRESS:PORT`` of the server to ask, several with commas; default those of the system.
    ``min_s``, ``max_s``: bounds in seconds of the time between questions, which the TTL decides; default 1 and 30.

A node by address is named ``address:port``, one by service record ``target:port``: the latter keeps its name when its
address changes. A target has the first of its addresses, IPv4 before IPv6; one without any is left out. The weight of a
service record counts relative to the heaviest of its service. Targets of the lowest priority number are ready, the
others stand by.

A name that does not exist, or has no records, lists no nodes: that is how services without members are answered. No
answer, a failure and a refusal are a lost backend, and one lost answer loses the round. A host file is not looked at.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import dns.exception
import dns.name
import dns.nameserver
import dns.rdata
import dns.rdtypes.IN.SRV
import dns.resolver

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.select import check_known_options
from mishards.errors import DiscoveryError, PluginError
from mishards_plugins.discovery.address import DEFAULT_PORT, is_ip_address, join_address, split_address
from mishards_plugins.discovery.polled import PolledDiscovery
from mishards_plugins.discovery.reports import Found

_TRY_S, _QUESTION_S, _ROUND_S = 0.5, 1.5, 4.0
"""How long one server, one question and all questions of a round may take."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A name that lists nodes; without a port its service records say it."""

    name: str
    port: int | None
    role: NodeRole


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """What the URI says; no servers stands for the system's."""

    listings: tuple[Listing, ...]
    servers: tuple[tuple[str, int], ...] = ()
    min_s: float = 1.0
    max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service record whose target has an address."""

    target: str
    port: int
    address: str
    priority: int
    weight: int


def parse(uri: str) -> DnsOptions:
    """Read the URI. Raises PluginError."""
    parts = urlsplit(uri)
    query = parse_qs(parts.query, keep_blank_values=True)
    check_known_options(uri, set(query), {"role", "writable", "server", "min_s", "max_s"})
    by_service = parts.scheme == "dns+srv"
    try:
        role = NodeRole(query.get("role", [NodeRole.READONLY.value])[0])
        listings = [_listing(text, NodeRole.WRITABLE, by_service) for text in _pieces(query, "writable")]
        listings.append(_listing(parts.netloc, role, by_service))
        servers = tuple(_server(text) for text in _pieces(query, "server"))
        min_s, max_s = (float(query.get(key, [default])[0]) for key, default in (("min_s", "1"), ("max_s", "30")))
    except (ValueError, dns.exception.DNSException) as error:
        raise PluginError(f"{uri}: {error}") from error
    if parts.path.strip("/") or not 0.01 <= min_s <= max_s <= 3600:
        raise PluginError(f"{uri}: expected no path, and min_s and max_s in order within 0.01..3600")
    return DnsOptions(tuple(listings), servers, min_s, max_s)


def nodes_by_address(addresses: Iterable[str], port: int, role: NodeRole) -> Iterator[NodeRecord]:
    """A node for each address; pure."""
    for address in addresses:
        name = join_address(address, port)
        yield NodeRecord(name, role, name)


def nodes_by_service(services: list[Service], role: NodeRole) -> Iterator[NodeRecord]:
    """A node for each service record of a name; pure."""
    heaviest = max((max(service.weight, 1) for service in services), default=1)
    preferred = min((service.priority for service in services), default=0)
    for service in sorted(services, key=lambda service: (service.priority, -service.weight)):
        yield NodeRecord(
            join_address(service.target, service.port),
            role,
            join_address(service.address, service.port),
            max(service.weight, 1) / heaviest,
            state=NodeState.READY if service.priority == preferred else NodeState.JOINING,
        )


def pause_s(ttl_s: float, options: DnsOptions) -> float:
    """How long to wait before the next round; pure."""
    return max(options.min_s, min(ttl_s, options.max_s))


class Round:
    """The questions of one round. Each raises DiscoveryError when it is not answered, or no longer worth asking."""

    def __init__(self, options: DnsOptions, stopped: threading.Event) -> None:
        self.ttl_s = math.inf
        """The shortest life of what was answered; 0 once a name listed no node."""
        self.left_out: set[str] = set()
        """What was listed and is no node, in words."""
        self._stopped = stopped
        self._ends_at = time.monotonic() + _ROUND_S
        try:
            self._resolver = dns.resolver.Resolver(configure=not options.servers)
        except dns.exception.DNSException as error:
            raise DiscoveryError(f"the system names no DNS server ({error}); name one with server=") from error
        if options.servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in options.servers]
        self._resolver.timeout = _TRY_S

    def nodes(self, listings: Iterable[Listing]) -> frozenset[NodeRecord]:
        """What the names list together; of two nodes of a name the first stands."""
        found: dict[str, NodeRecord] = {}
        for listing in listings:
            if listing.port is None:
                listed = [*nodes_by_service(self._services(listing.name), listing.role)]
            else:
                listed = [*nodes_by_address(self._addresses(listing.name), listing.port, listing.role)]
            if not listed:
                self.ttl_s = 0
            for node in listed:
                found.setdefault(node.name, node)
        return frozenset(found.values())

    def _services(self, name: str) -> list[Service]:
        found = []
        for record in self._ask(name, "SRV"):
            assert isinstance(record, dns.rdtypes.IN.SRV.SRV)  # noqa: S101 - for the type checker: SRV was asked for
            target = record.target.to_text(omit_final_dot=True).lower()
            addresses = self._addresses(target) if record.port and record.target != dns.name.root else []
            if addresses:
                found.append(Service(target, record.port, addresses[0], record.priority, record.weight))
            else:
                self.left_out.add(f"{name} lists {record}, which is no node")
        return found

    def _addresses(self, host: str) -> list[str]:
        if is_ip_address(host):
            return [host]
        return [text for kind in ("A", "AAAA") for text in sorted(map(str, self._ask(host, kind)))]

    def _ask(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        left_s = min(_QUESTION_S, self._ends_at - time.monotonic())
        if left_s <= 0 or self._stopped.is_set():
            raise DiscoveryError(f"no time was left to ask for the {kind} records of {name}")
        try:
            answer = self._resolver.resolve(name, kind, raise_on_no_answer=False, lifetime=left_s, search=True)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DiscoveryError(f"the {kind} records of {name} cannot be had: {error}") from error
        if answer.rrset is None:
            return []
        self.ttl_s = min(self.ttl_s, answer.chaining_result.minimum_ttl)
        return list(answer.rrset)


class DnsDiscovery(PolledDiscovery):
    """Asks again and again, as often as the TTLs allow."""

    def __init__(self, options: DnsOptions) -> None:
        super().__init__("dns", pause_s(0.0, options))
        self._options = options

    def look(self) -> tuple[Found, float]:
        """The nodes that the names list now."""
        asked = Round(self._options, self.stopped)
        nodes = asked.nodes(self._options.listings)
        return Found(nodes, frozenset(asked.left_out)), pause_s(asked.ttl_s, self._options)


class DnsPlugin:
    """The object of both entry points."""

    def discovery(self, uri: str) -> DnsDiscovery:
        """The nodes that the names in the URI list."""
        return DnsDiscovery(parse(uri))


plugin = DnsPlugin()


def _listing(text: str, role: NodeRole, by_service: bool) -> Listing:
    name, port = split_address(text, 0 if by_service else DEFAULT_PORT)
    if by_service and (port or is_ip_address(name)):
        raise ValueError(f"{text!r} is no name of a service, expected _SERVICE._tcp.DOMAIN without a port")
    dns.name.from_text(name)
    return Listing(name, None if by_service else port, role)


def _server(text: str) -> tuple[str, int]:
    address, port = split_address(text, 53)
    if not is_ip_address(address):
        raise ValueError(f"server is {text!r}, expected ADDRESS:PORT")
    return address, port


def _pieces(query: dict[str, list[str]], key: str) -> list[str]:
    return [piece.strip() for value in query.get(key, []) for piece in value.split(",") if piece.strip()]
