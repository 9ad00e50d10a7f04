"""What each role may do: calls by their method, ``Cmd`` by its words, pages over HTTP by their path. Pure.

An entry of an allow-list is ``*`` (everything), a method (``Insert``), the first words of a command
(``Cmd:get_config``), or a path over HTTP that no method stands behind (``http:/status``), to be read. A role may do
what its own list says and what the roles below it may.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from mishards.wire.replies import METHODS

ANY = "*"
_CMD, _HTTP = "Cmd:", "http:/"


class Role(str, enum.Enum):
    """From the least to the most."""

    ANONYMOUS = "anonymous"
    """Who has neither a token nor a certificate with a role."""
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


ROLES = tuple(Role)

ANONYMOUS_ALLOWS = ("http:/healthz", "http:/readyz")
READ_ALLOWS = (
    "Search",
    "SearchByID",
    "SearchInFiles",
    "GetVectorsByID",
    "GetVectorIDs",
    "HasCollection",
    "DescribeCollection",
    "CountCollection",
    "ShowCollections",
    "ShowCollectionInfo",
    "DescribeIndex",
    "HasPartition",
    "ShowPartitions",
    "Cmd:version",
    "Cmd:status",
    "Cmd:mode",
    "http:/api",
    "http:/metrics",
    "http:/status",
    "http:/explain",
)
WRITE_ALLOWS = (
    "CreateCollection",
    "CreatePartition",
    "CreateIndex",
    "Insert",
    "DeleteByID",
    "Flush",
    "Compact",
    "PreloadCollection",
)
ADMIN_ALLOWS = (ANY,)


def check_entries(entries: Sequence[str]) -> None:
    """Raise ValueError where an entry can mean nothing."""
    for entry in entries:
        if not (entry == ANY or entry in METHODS or entry.startswith((_CMD, _HTTP))):
            raise ValueError(f"{entry!r} is neither * nor a method nor Cmd:WORDS nor http:/PATH")


class AllowLists:
    """The lists of all roles."""

    def __init__(self, lists: Mapping[Role, Sequence[str]]) -> None:
        """``lists``: what each role may do beyond the roles below it."""
        self._entries: dict[Role, frozenset[str]] = {}
        below: frozenset[str] = frozenset()
        for role in ROLES:
            below = self._entries[role] = below | frozenset(lists.get(role, ()))

    def allows(self, role: Role, wish: str) -> bool:
        """May the role do it? ``wish`` is written as an entry, with all of a command or a path."""
        entries = self._entries[role]
        if wish in entries or ANY in entries:
            return True
        if wish.startswith(_CMD):
            return "Cmd" in entries or _begins(entries, wish, " ")
        return wish.startswith(_HTTP) and _begins(entries, wish, "/")

    def lowest(self, wish: str) -> Role | None:
        """The role of least power that may do it."""
        return next((role for role in ROLES if self.allows(role, wish)), None)


def _begins(entries: frozenset[str], wish: str, separator: str) -> bool:
    """Is there an entry for the beginning of ``wish``, up to a separator?"""
    end = wish.find(separator, len(_HTTP))
    while end >= 0:
        if wish[:end] in entries:
            return True
        end = wish.find(separator, end + 1)
    return False
