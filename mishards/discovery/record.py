"""A node's record as JSON, the form in which backends store it.

``{"name": …, "role": "writable"|"readonly", "address": "host:port", "weight": 1.0, "zone": "", "state":
"joining"|"ready"|"draining", "capabilities": […]}``; the first three are required. Fields that are not known are
ignored, so that newer nodes can be read by older routers.
"""

from __future__ import annotations

import json

from mishards.discovery.api import NodeRecord, NodeRole, NodeState
from mishards.errors import BadNodeRecord


def encode(node: NodeRecord) -> bytes:
    """The record as one line of JSON."""
    fields = {
        "name": node.name,
        "role": node.role.value,
        "address": node.address,
        "weight": node.weight,
        "zone": node.zone,
        "state": node.state.value,
        "capabilities": sorted(node.capabilities),
    }
    return json.dumps(fields, ensure_ascii=False).encode()


def decode(raw: bytes, source: str) -> NodeRecord:
    """Read a record; ``source`` names the entry in the error.

    Raises:
        BadNodeRecord: it is no record of a node.
    """
    try:
        fields = json.loads(raw)
        return NodeRecord(
            name=_text(fields["name"]),
            role=NodeRole(fields["role"]),
            address=_text(fields["address"]),
            weight=float(fields.get("weight", 1.0)),
            zone=_text(fields.get("zone", "")),
            state=NodeState(fields.get("state", NodeState.READY.value)),
            capabilities=frozenset(_text(item) for item in fields.get("capabilities", ())),
        )
    except (ValueError, OverflowError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise BadNodeRecord(f"{source} is no record of a node: {error!r}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    value.encode()  # a lone surrogate, escaped, passes the parser, and nothing else
    return value
