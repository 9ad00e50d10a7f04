"""Discovery ``consul``: nodes are instances of a service in Consul; needs httpx (the extra ``consul``).

Features: whole sets yes; announces yes; server needed Consul; TLS and tokens yes; death noticed after the check's time.

Address form: ``consul://HOST:PORT/SERVICE``; the port defaults to 8500. This is the agent of the machine, as a rule;
further ones may follow with commas and are read where the first is away. Nodes register at the first.

Options (in the query):
    ``ttl_s``: whole seconds without a word after which a node counts as dead, default 5.
    ``wait_s``: seconds that one blocking query waits for a change, default 10; a frozen agent is noticed after it.
    ``dc``: another datacenter than the agent's, to read only. ``tag``: instances with this tag alone; nodes that
    register get it.
    ``token_file`` or ``token_env``: the file or the variable that has an ACL token.
    ``tls``: ``on`` or ``off``; on where a file is named. ``ca``: a file with whom to trust, default the system's.
    ``cert``, ``key``: files that prove who we are.

Instances whose checks all pass are nodes. The instance's id is the node's name; its meta has ``role``, ``weight``,
``zone``, ``state`` and ``capabilities`` (with commas), of which the first is required. Instances that something else
registers, such as an agent's own configuration, are nodes alike.

Invariants: every reply is a whole set, by Consul's consistent default: a cluster without a leader refuses to answer,
and so is lost. An index that goes backwards begins anew.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.errors import DiscoveryError
from mishards_plugins.discovery.address import join_address, split_address
from mishards_plugins.discovery.consul_options import ConsulOptions, parse
from mishards_plugins.discovery.http_watch import ANSWER_S, FAILURES, HttpWatch, refusal
from mishards_plugins.discovery.kept_entry import KeptAnnouncer
from mishards_plugins.discovery.reports import Found

_HOLDER = "holder"
"""The meta that tells the process which registered an instance from any other."""


class ConsulService:
    """Asks for the instances of a service."""

    def __init__(self, options: ConsulOptions) -> None:
        self._options = options

    async def follow(self, http: httpx.AsyncClient, server: str) -> AsyncGenerator[Found, None]:
        """The nodes, again after every change."""
        wait_s, index = self._options.wait_s, 0
        # An agent adds up to a sixteenth of the time to wait.
        timeout = httpx.Timeout(ANSWER_S, read=wait_s * 17 / 16 + ANSWER_S)
        while True:
            asked = {**self._options.selection(), "index": str(index), "wait": f"{wait_s:g}s"}
            reply = await http.get(server + self._options.health_path, params=asked, timeout=timeout)
            if not reply.is_success:
                raise DiscoveryError(refusal(reply))
            index = following(index, int(reply.headers["X-Consul-Index"]))
            yield nodes_of(reply.json())


def following(index: int, answered: int) -> int:
    """The index to ask with next; pure. 0 asks for what is there at once."""
    return max(answered, 1) if answered >= index else 0


def nodes_of(instances: Sequence[Mapping[str, Any]]) -> Found:
    """The records of the instances; pure. Raises what ``FAILURES`` names when these are no instances."""
    nodes, left_out = set(), set()
    for instance in instances:
        service, machine = instance["Service"], instance["Node"]
        try:
            nodes.add(node_of(service, service["Address"] or machine["Address"]))
        except (ValueError, KeyError) as error:
            left_out.add(f"instance {service['ID']} on {machine['Node']} is no record of a node: {error!r}")
    return Found(frozenset(nodes), frozenset(left_out))


def node_of(service: Mapping[str, Any], host: str) -> NodeRecord:
    """The record of an instance; pure. Raises ValueError and KeyError."""
    meta: Mapping[str, str] = service["Meta"] or {}
    return NodeRecord(
        name=service["ID"],
        role=NodeRole(meta["role"]),
        address=join_address(host, service["Port"]) if host and service["Port"] else "",
        weight=float(meta.get("weight", "1")),
        zone=meta.get("zone", ""),
        state=NodeState(meta.get("state", NodeState.READY.value)),
        capabilities=frozenset(filter(None, meta.get("capabilities", "").split(","))),
    )


def registration(node: NodeRecord, holder: str, options: ConsulOptions) -> dict[str, Any]:
    """What registers a node at an agent; pure. Raises ValueError when its address is none."""
    host, port = split_address(node.address)
    return {
        "ID": node.name,
        "Name": options.service,
        "Address": host,
        "Port": port,
        "Tags": [options.tag] if options.tag else [],
        "Meta": {
            "role": node.role.value,
            "weight": str(node.weight),
            "zone": node.zone,
            "state": node.state.value,
            "capabilities": ",".join(sorted(node.capabilities)),
            _HOLDER: holder,
        },
        "Check": {
            "CheckID": check_id(node.name),
            "Name": "the process of the node speaks",
            "TTL": f"{options.ttl_s}s",
            "Status": "passing",
            "DeregisterCriticalServiceAfter": "1m",
        },
    }


def check_id(node: str) -> str:
    """The check of a node's instance."""
    return f"mishards:{node}"


class ConsulEntry:
    """An instance and its check; registered again when the agent has forgotten it."""

    def __init__(self, options: ConsulOptions) -> None:
        self._options = options
        self._http = options.access().client()
        self._agent = options.servers[0]
        self._holder = uuid.uuid4().hex
        self._name = ""
        self.every_s = options.ttl_s / 3
        self.takeover_s = options.ttl_s + 2.0

    def place(self, node: str) -> str:
        """The instance."""
        return f"instance {node} of service {self._options.service}"

    def put(self, node: NodeRecord) -> bool:
        """Have the instance registered as it should be and its check pass; False when another process's passes.

        Raises:
            DiscoveryError: the agent cannot be asked, or does not take it.
        """
        try:
            wanted = registration(node, self._holder, self._options)
        except ValueError as error:
            raise DiscoveryError(f"cannot announce {node.name} in Consul: {error}") from error
        found = self._ask("GET", self._options.health_path, {"passing": "true"}).json()
        try:
            living = [instance["Service"] for instance in found if instance["Service"]["ID"] == node.name]
            metas = [service["Meta"] or {} for service in living]
            places = [(service["Address"], service["Port"]) for service in living]
        except FAILURES as error:
            raise DiscoveryError(f"{self._agent} answers as no Consul: {error!r}") from error
        if any(meta.get(_HOLDER) != self._holder for meta in metas):
            return False
        if metas != [wanted["Meta"]] or places != [(wanted["Address"], wanted["Port"])]:
            self._ask("PUT", "/v1/agent/service/register", {"replace-existing-checks": "true"}, wanted)
        self._name = node.name
        self._ask("PUT", f"/v1/agent/check/pass/{quote(check_id(node.name), safe='')}")
        return True

    def remove(self) -> None:
        """Take the instance away. Raises DiscoveryError when the agent cannot be asked."""
        try:
            if self._name:
                self._ask("PUT", f"/v1/agent/service/deregister/{quote(self._name, safe='')}")
        finally:
            self._http.close()

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> httpx.Response:
        try:
            reply = self._http.request(method, self._agent + path, params=query, json=body)
        except FAILURES as error:
            raise DiscoveryError(f"Consul at {self._agent} does not do {method} {path}: {error!r}") from error
        if not reply.is_success:
            raise DiscoveryError(f"Consul at {self._agent} does not do {method} {path}: {refusal(reply)}")
        return reply


class ConsulPlugin:
    """The entry point's object."""

    def discovery(self, uri: str) -> HttpWatch:
        """A discovery over the service that the URI names."""
        options = parse(uri)
        return HttpWatch("consul", options.servers, ConsulService(options).follow, options.access())

    def announcer(self, uri: str) -> KeptAnnouncer:
        """An announcer in the service that the URI names."""
        options = parse(uri)
        options.access()  # what it needs is there
        return KeptAnnouncer("consul", lambda _wake: ConsulEntry(options))


plugin = ConsulPlugin()
