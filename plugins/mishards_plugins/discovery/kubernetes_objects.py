"""What EndpointSlices and pods say about nodes; pure. Fields as in ``discovery.k8s.io/v1`` and ``v1``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.discovery.record import decode
from mishards.errors import BadNodeRecord
from mishards_plugins.discovery.address import join_address
from mishards_plugins.discovery.reports import Found

DOMAIN = "mishards.io"
ANNOTATION = f"{DOMAIN}/node"
"""Where a pod's announced record stands."""

Object = Mapping[str, Any]

_BAD = (BadNodeRecord, ValueError, KeyError, TypeError, AttributeError)


def endpoints_found(slices: Iterable[Object], port: str) -> Found:
    """The nodes of EndpointSlices. An endpoint may stand in two slices for a moment: the most useful state counts."""
    nodes: dict[str, NodeRecord] = {}
    left_out = set()
    for piece in slices:
        try:
            for node in _endpoints(piece, port):
                other = nodes.get(node.name)
                if other is None or _usefulness(node) > _usefulness(other):
                    nodes[node.name] = node
        except _BAD as error:
            left_out.add(f"EndpointSlice {_name(piece)} has no records of nodes: {error!r}")
    return Found(frozenset(nodes.values()), frozenset(left_out))


def pods_found(pods: Iterable[Object], port: str) -> Found:
    """The nodes of pods."""
    nodes, left_out = set(), set()
    for pod in pods:
        try:
            node = _pod(pod, port)
        except _BAD as error:
            left_out.add(f"pod {_name(pod)} has no record of a node: {error!r}")
        else:
            nodes |= {node} if node is not None else set()
    return Found(frozenset(nodes), frozenset(left_out))


def announced_by(pod: Object) -> NodeRecord | None:
    """The record that a pod has announced. Raises BadNodeRecord."""
    raw = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    return None if raw is None else decode(raw.encode(), f"pod {_name(pod)}")


def lives(pod: Object) -> bool:
    """Is a process of it running, and to stay?"""
    return _phase(pod) == "Running" and _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def _endpoints(piece: Object, port: str) -> Iterator[NodeRecord]:
    labels = piece["metadata"].get("labels") or {}
    role, weight = NodeRole(labels[f"{DOMAIN}/role"]), float(labels.get(f"{DOMAIN}/weight", "1"))
    number = _chosen_port([(entry.get("name"), entry.get("port")) for entry in piece.get("ports") or ()], port)
    for endpoint in piece.get("endpoints") or ():
        address = endpoint["addresses"][0]
        name = (endpoint.get("targetRef") or {}).get("name") or join_address(address, number)
        state = _endpoint_state(endpoint.get("conditions") or {})
        yield NodeRecord(name, role, join_address(address, number), weight, endpoint.get("zone") or "", state)


def _endpoint_state(conditions: Mapping[str, bool | None]) -> NodeState:
    """What is not said of an endpoint is to be read as ready, and as not terminating."""
    if conditions.get("terminating"):
        return NodeState.DRAINING
    return NodeState.JOINING if conditions.get("ready") is False else NodeState.READY


def _pod(pod: Object, port: str) -> NodeRecord | None:
    phase, metadata = _phase(pod), pod["metadata"]
    if phase in ("Succeeded", "Failed"):
        return None
    node = announced_by(pod) or _described(pod, port)
    if node is None:
        return None
    state = node.state
    if "deletionTimestamp" in metadata:
        state = NodeState.DRAINING
    elif phase != "Running" or not _is_ready(pod):
        state = NodeState.JOINING
    return NodeRecord(node.name, node.role, node.address, node.weight, node.zone, state, node.capabilities)


def _described(pod: Object, port: str) -> NodeRecord | None:
    """What a pod's labels and annotations say; None where it has no address yet, or no role: it may announce itself."""
    metadata = pod["metadata"]
    said = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    address, role = (pod.get("status") or {}).get("podIP"), said.get(f"{DOMAIN}/role")
    if not address or role is None:
        return None
    ports = [entry for box in pod["spec"]["containers"] for entry in box.get("ports") or ()]
    number = _chosen_port([(entry.get("name"), entry.get("containerPort")) for entry in ports], port)
    return NodeRecord(
        metadata["name"],
        NodeRole(role),
        join_address(address, number),
        float(said.get(f"{DOMAIN}/weight", "1")),
        said.get(f"{DOMAIN}/zone", ""),
        capabilities=frozenset(filter(None, said.get(f"{DOMAIN}/capabilities", "").split(","))),
    )


def _chosen_port(ports: list[tuple[str | None, int | None]], wanted: str) -> int:
    if wanted.isdecimal():
        return int(wanted)
    numbers = [number for name, number in ports if number and name == wanted] or [n for _, n in ports if n]
    if not numbers or (len(numbers) > 1 and wanted not in dict(ports)):
        raise ValueError(f"no port is named {wanted}; there are {ports}")
    return numbers[0]


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _phase(pod: Object) -> str:
    phase: str = (pod.get("status") or {}).get("phase", "")
    return phase


def _usefulness(node: NodeRecord) -> int:
    return (NodeState.DRAINING, NodeState.JOINING, NodeState.READY).index(node.state)


def _name(found: Object) -> str:
    name: str = found["metadata"]["name"]
    return name
