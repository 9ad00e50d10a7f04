"""What a fan-out is made of: what all nodes are asked, whom else to ask, and the segments asked of one node.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mishards.catalog.snapshot import Segment
from mishards.cluster.node import Node
from mishards.deadline import Deadline
from mishards.errors import NodeError, NodeUnavailable
from mishards.query.answer import Answer
from mishards.query.asked import Asked
from mishards.query.share import Share
from mishards.query.vigil import Vigil
from mishards.transport.api import GiveUp, Metadata, NodeCall

Next = Callable[[Segment, tuple[str, ...]], "Node | None"]
"""The node to ask for a segment, given the names of those already tried; None when there is no other."""


Ready = Callable[[Node, Sequence[Segment]], Awaitable[None]]
"""Returns once a node may be asked for these segments; raises NodeError when it may not."""


Ended = Callable[[list[Answer], Exception | None], None]
"""Told of the end of a fan-out: its answers, or why there are none."""


class Request:
    """What every node is asked: the client's own encoded ``SearchParam``, under one deadline."""

    __slots__ = ("deadline", "metadata", "node_calls", "param", "ready", "revision")

    def __init__(
        self,
        param: bytes,
        deadline: Deadline,
        metadata: Metadata,
        revision: int,
        ready: Ready,
        node_calls: list[NodeCall],
    ) -> None:
        """``revision`` is of the snapshot that names the segments; ``node_calls`` gets every call when it ends."""
        self.param = param
        self.deadline = deadline
        self.metadata = metadata
        self.revision = revision
        self.ready = ready
        self.node_calls = node_calls


@dataclass(frozen=True, slots=True)
class Candidates:
    """Whom to ask when a node fails, and when it takes long: any, and only those that hold the segment."""

    following: Next
    replica: Next


class Whole(Protocol):
    """What a part belongs to."""

    def replied(self, part: Part, reply: bytes, error: BaseException | None) -> None:
        """The call for a part has ended."""
        ...

    def late(self, part: Part) -> None:
        """The node of a part has not answered for long, and lives."""
        ...


class Part:
    """Segments asked of one node, the nodes asked so far, and the race with its hedges, if there are any."""

    __slots__ = (
        "asked",
        "collected",
        "failure",
        "give_up",
        "hedges",
        "rival",
        "settled",
        "share",
        "timer",
        "tried",
        "whole",
    )
    asked: Asked

    def __init__(self, whole: Whole, share: Share, tried: tuple[str, ...] = (), rival: Part | None = None) -> None:
        """``rival`` is the part that this one is a piece of and is asked besides."""
        self.whole = whole
        self.share = share
        self.tried = (*tried, share.node.record.name)
        self.rival = rival
        self.hedges: Sequence[Part] = ()
        self.collected: list[Answer] = []
        """What the hedges have answered."""
        self.failure: NodeError | None = None
        self.settled = False
        self.give_up: GiveUp | None = None
        """Ends the call; None when it has ended."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def node(self) -> Node:
        """Who is asked."""
        return self.share.node

    def replied(self, reply: bytes, error: BaseException | None) -> None:
        """The call has ended."""
        self.whole.replied(self, reply, error)

    def found_alive(self) -> None:
        """The node lives, and has not answered for long."""
        self.whole.late(self)

    def found_dead(self) -> None:
        """The node does not even answer a probe."""
        if self.give_up is not None:
            self.give_up()
        address = self.share.node.record.address
        self.replied(b"", NodeUnavailable(address, "it answers neither the search nor a probe"))


@dataclass(frozen=True, slots=True)
class Patience:
    """How a search puts up with nodes that do not answer."""

    vigil: Vigil
    """Over the nodes that are waited for."""
    partial: bool = False
    """Go on without what nobody answers, instead of failing."""
