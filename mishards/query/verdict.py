"""What a node's reply to a search means for the search; pure."""

from __future__ import annotations

import enum
from typing import Final

from mishards.errors import Code

_STALE_TEXTS: Final = ("Invalid file id", "index is null", "Failed to load index file", "SegmentMissing")
"""What nodes of the 1.x protocol say of a file that was merged, compacted or dropped meanwhile. It has no code."""

_OF_THE_REQUEST: Final = frozenset(
    {
        Code.PERMISSION_DENIED,
        Code.ILLEGAL_ARGUMENT,
        Code.ILLEGAL_DIMENSION,
        Code.ILLEGAL_INDEX_TYPE,
        Code.ILLEGAL_COLLECTION_NAME,
        Code.ILLEGAL_TOPK,
        Code.ILLEGAL_ROWRECORD,
        Code.ILLEGAL_VECTOR_ID,
        Code.ILLEGAL_NLIST,
        Code.ILLEGAL_METRIC_TYPE,
    }
)


class Verdict(enum.Enum):
    """What to do with a reply."""

    ANSWER = "answer"
    """Use it."""
    REFUSED = "refused"
    """The request is at fault: hand the reply to the client."""
    STALE = "stale"
    """The route is older than what the node sees, or the node is behind: look again."""
    FAULT = "fault"
    """The node is at fault: ask another."""


def judge(code: int, reason: str) -> Verdict:
    """Judge the status of a node's reply."""
    if code == Code.SUCCESS:
        return Verdict.ANSWER
    if code in _OF_THE_REQUEST:
        return Verdict.REFUSED
    if code in (Code.COLLECTION_NOT_EXISTS, Code.FILE_NOT_FOUND) or _is_stale(reason):
        return Verdict.STALE
    return Verdict.FAULT


def _is_stale(reason: str) -> bool:
    if any(text in reason for text in _STALE_TEXTS):
        return True
    return reason.startswith("Collection ") and reason.endswith(" not found")
