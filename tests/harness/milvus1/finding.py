"""Which collections and partitions a call names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.milvus1 import checks
from harness.milvus1.kinds import Code, Refused
from harness.milvus1.metadata import Collection, Metadata

_NO_PARTITION = "The specified partition does not exist"


def root(metadata: Metadata, name: str) -> Collection:
    """Return a collection; a partition's internal name is none."""
    checks.check_name(name)
    row = metadata.collection(name)
    if row is None:
        raise Refused(Code.COLLECTION_NOT_EXISTS, checks.unknown_collection(name))
    if row.owner_table:
        raise Refused(Code.ILLEGAL_COLLECTION_NAME, checks.unknown_collection(name))
    return row


def partition(metadata: Metadata, owner: Collection, tag: str) -> Collection:
    """Return the partition with this very tag; the empty one and ``_default`` are the collection itself."""
    tag = checks.trimmed(tag)
    if tag in ("", checks.DEFAULT_TAG):
        return owner
    for row in metadata.collections(owner.table_id):
        if row.partition_tag == tag:
            return row
    raise Refused(Code.UNEXPECTED, f"Collection {owner.table_id}'s partition {tag} not found")


def matching(metadata: Metadata, owner: Collection, tags: Iterable[str]) -> list[Collection]:
    """Return what tags choose: regular expressions over the whole tag, with ``_default`` for the collection itself.

    Raises:
        Refused: when none of them matches anything.
    """
    patterns = [checks.checked_tag(tag) for tag in tags]
    everything = metadata.with_partitions(owner)
    if not patterns:
        return everything
    chosen = [row for row in everything if any(_matches(row, pattern) for pattern in patterns)]
    if not chosen:
        raise Refused(Code.UNEXPECTED, _NO_PARTITION)
    return chosen


def _matches(row: Collection, pattern: str) -> bool:
    if not row.owner_table:
        return pattern == checks.DEFAULT_TAG
    if row.partition_tag == pattern:
        return True
    try:
        return re.fullmatch(pattern, row.partition_tag) is not None
    except re.error as error:
        raise Refused(Code.UNEXPECTED, str(error)) from error
