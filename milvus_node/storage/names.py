"""The names of files in a segment folder, and the check that a name is one before it becomes a path."""

from __future__ import annotations

import re

from milvus_node.errors import StorageError

DELETED_DOCS = "deleted_docs"
BLOOM_FILTER = "bloom_filter"
OWED = "mishards_owed"
VECTORS_SUFFIX = ".rv"
IDS_SUFFIX = ".uid"

_TOMBSTONES = re.compile(r"deleted_docs(\.[0-9]+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+")
_MAX_NAME_BYTES = 255  # of one path component, on every Linux file system
_RESERVED = frozenset({DELETED_DOCS, BLOOM_FILTER, OWED})


def tombstones_name(epoch: int) -> str:
    """The tombstones that a writer of this epoch keeps beside ``deleted_docs``."""
    return f"{DELETED_DOCS}.{epoch}"


def is_tombstones(name: str) -> bool:
    """Is ``name`` that of deleted rows, of whichever writer?"""
    return _TOMBSTONES.fullmatch(name) is not None


def checked_name(kind: str, name: str) -> str:
    """Return ``name`` when it can be one path component; StorageError, naming ``kind``, when it cannot."""
    if len(name) > _MAX_NAME_BYTES or not _NAME.fullmatch(name):
        raise StorageError(f"{name[:_MAX_NAME_BYTES]!r} is no {kind} id: expected letters, digits and underscores")
    return name


def checked_file_id(file_id: str) -> str:
    """Return ``file_id`` when it can name an index file; StorageError when it cannot."""
    if file_id in _RESERVED:
        raise StorageError(f"{file_id!r} is no file id: the name belongs to another file of the segment")
    return checked_name("file", file_id)
