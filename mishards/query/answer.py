"""One node's reply to its share of a search: an answer, or why it is none."""

from __future__ import annotations

from collections.abc import Sequence

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.errors import MalformedReply, NodeFault
from mishards.query.verdict import Verdict, judge
from mishards.wire.replies import status_of
from mishards.wire.results import encode_result


class Answer:
    """One node's encoded reply for some segments."""

    __slots__ = ("node", "reply", "segments")

    def __init__(self, node: str, segments: tuple[Segment, ...], reply: bytes) -> None:
        self.node = node
        self.segments = segments
        self.reply = reply


def unanswered(segments: tuple[Segment, ...]) -> Answer:
    """What stands for segments that nobody answered, where partial results are wanted: no node, no rows."""
    return Answer("", segments, encode_result(None))


def still_right(answers: Sequence[Answer], segments: Sequence[Segment]) -> list[Answer]:
    """The answers all of whose segments are still there, in the same version."""
    there = {(segment.segment_id, segment.version) for segment in segments}
    return [answer for answer in answers if all((s.segment_id, s.version) in there for s in answer.segments)]


class StaleRoute(Exception):
    """A node no longer has what the snapshot promised, or not yet; ``answers`` are those that others gave."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.answers: list[Answer] = []
        self.node = node
        self.reason = reason


class RefusedByNode(Exception):
    """A node found fault with the request; ``reply`` says so to the client in the node's words."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("refused")
        self.reply = reply


class FaultyReply(NodeFault):
    """A node answered a status that says it is at fault; ``reply`` is what it said."""

    def __init__(self, address: str, reason: str, reply: bytes) -> None:
        super().__init__(address, reason)
        self.reply = reply


def check_reply(node: Node, reply: bytes) -> None:
    """Return where a reply is an answer; the node's health learns of it where it is none.

    Raises:
        StaleRoute, RefusedByNode, FaultyReply: by what the reply says.
        NodeFault: it is no reply.
    """
    address = node.record.address
    try:
        code, reason = status_of("SearchInFiles", reply)
    except MalformedReply as error:
        node.faulted(str(error))
        raise NodeFault(address, f"its reply is no message: {error}") from error
    verdict = judge(code, reason)
    if verdict is Verdict.REFUSED:
        raise RefusedByNode(reply)
    if verdict is Verdict.STALE:
        raise StaleRoute(node.name, reason)
    if verdict is Verdict.FAULT:
        node.faulted(reason)
        raise FaultyReply(address, reason, reply)
