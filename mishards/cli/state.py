"""What a router says of itself at ``/status``: is it well, and how is it shown. Pure."""

from __future__ import annotations

from typing import Any

from mishards.cli.output import table


def is_healthy(seen: dict[str, Any]) -> bool:
    """Is everything up that a router knows of, and can it read and write?"""
    nodes_up = all(node["health"] == "up" and node["state"] == "ready" for node in seen["nodes"])
    return nodes_up and bool(seen["writer"]) and bool(seen["searchers"]) and not seen["catalog"]["error"]


def status_lines(seen: dict[str, Any]) -> list[str]:
    """What a router says of itself, as lines."""
    catalog = seen["catalog"]
    away = f", away: {catalog['error']}" if catalog["error"] else ""
    headings = ("NODE", "ADDRESS", "ROLE", "STATE", "HEALTH", "TASK", "CALLS", "LATENCY MS", "REASON")
    rows = [_node_row(node, seen) for node in seen["nodes"]]
    return [f"catalog: version {catalog['version']}, {catalog['age_ms']} ms old{away}", *table(headings, rows)]


def _node_row(node: dict[str, Any], seen: dict[str, Any]) -> tuple[object, ...]:
    task = "writer" if node["name"] == seen["writer"] else "searches" if node["name"] in seen["searchers"] else ""
    figures = (node["outstanding"], float(node["latency_ms"]), node["reason"])
    return node["name"], node["address"], node["role"], node["state"], node["health"], task, *figures
