"""What a node is for, and which calls follow from that."""

from __future__ import annotations

import enum


class Role(str, enum.Enum):
    """The role that a node is started with."""

    WRITABLE = "writable"
    READONLY = "readonly"


WRITES = frozenset(
    {
        "CreateCollection",
        "DropCollection",
        "CreateIndex",
        "DropIndex",
        "CreatePartition",
        "DropPartition",
        "Insert",
        "DeleteByID",
        "Flush",
        "Compact",
    }
)
"""Calls that change something; a read-only node refuses them."""
