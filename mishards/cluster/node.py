"""One node as this router knows it: its record, its channel, its health, its load.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from mishards.cluster.health import Health, HealthOptions, HealthState
from mishards.cluster.latency import Latency
from mishards.cluster.leader import Claim
from mishards.deadline import Deadline
from mishards.discovery.api import NodeRecord
from mishards.errors import (
    MishardsError,
    NodeError,
    NodeFault,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
)
from mishards.transport.api import Channel, GiveUp, Metadata, Outcome, Transport, begin_on
from mishards.wire.extensions import CAPABILITIES_COMMAND, ELECTION, LEADER_COMMAND
from mishards.wire.protos import milvus_pb2

log = logging.getLogger(__name__)

_VERSIONS: Final = ("1.0.", "1.1.")

_KINDS: Final = {NodeTimeout: "timeout", NodeOverloaded: "overloaded", NodeRejected: "rejected"}

Called = Callable[[str, str, float], None]
"""Told of each call that a node has answered: its name, the method, seconds. Must be quick, and must not raise."""


class Node:
    """Calls a node and keeps account of how it does."""

    def __init__(
        self,
        record: NodeRecord,
        transport: Transport,
        options: HealthOptions,
        on_change: Callable[[], None],
        on_call: Called,
    ) -> None:
        """``on_change`` is called whenever the node goes up or down."""
        self.record = record
        self.health = Health()
        self.claim: Claim | None = None
        """What it said of its leading; None where it elects nobody, or has not said."""
        self.present = True
        self.outstanding = 0
        self.latency = Latency()
        self.errors: Counter[str] = Counter()
        """Calls without a sound answer, since the router knows the node, by kind."""
        self.trips = 0
        """How often it went down since then."""
        self.version = ""
        self.capabilities: frozenset[str] = record.capabilities
        self._transport = transport
        self._options = options
        self._on_change = on_change
        self._on_call = on_call
        self._reach(record.address)
        self._probe: asyncio.Task[bool] | None = None
        self._retired: list[Channel] = []

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.record.address} {self.health.state.value} outstanding={self.outstanding}>"

    @property
    def name(self) -> str:
        """Its identity."""
        return self.record.name

    @property
    def usable(self) -> bool:
        """May it be asked first? Nothing is known against it."""
        return self.present and self.health.state is not HealthState.DOWN

    def reconfigure(self, options: HealthOptions) -> None:
        """Judge it by other options from now on."""
        self._options = options

    def load_share(self) -> float:
        """How much of its normal load it should get now, 0 to 1."""
        return self.health.load_share(time.monotonic(), self._options) if self.present else 0.0

    def update(self, record: NodeRecord, *, present: bool) -> None:
        """Follow discovery: a new address gets a new channel, a node that came back is probed at once."""
        moved = record.address != self.record.address
        if moved:
            self._retired.append(self._channel)
            self._reach(record.address)
        if moved or (present and not self.present):
            self.health = Health()
        self.record, self.present = record, present

    def _reach(self, address: str) -> None:
        self._channel = self._transport.channel(address)
        self._begin = begin_on(self._channel)

    async def call(self, method: str, request: bytes, *, deadline: Deadline, metadata: Metadata = ()) -> bytes:
        """Call the node as ``Channel.call`` does; a failure counts against its health, a reply is yet to be judged."""
        channel, began = self._channel, time.monotonic()
        self.outstanding += 1
        try:
            reply = await channel.call(method, request, deadline=deadline, metadata=metadata)
        except NodeError as error:
            self.failed(error, channel)
            raise
        finally:
            self.outstanding -= 1
        self.took(method, began)
        return reply

    def begin(
        self, method: str, request: bytes, outcome: Outcome, *, deadline: Deadline, metadata: Metadata = ()
    ) -> GiveUp | None:
        """Call the node as ``BeginCall`` says, with the account of ``call``; None where only that can do it."""
        if self._begin is None:
            return None
        begun = _Begun(self, self._channel, method, outcome)
        given_up = self._begin(method, request, begun.ended, deadline=deadline, metadata=metadata)
        if given_up is None:
            return None
        begun.given_up = given_up
        self.outstanding += 1
        return begun.give_up

    def took(self, method: str, began: float) -> None:
        """It has answered a call."""
        now = time.monotonic()
        self.latency.measured(now - began, now)
        self._on_call(self.record.name, method, now - began)

    def failed(self, error: NodeError, channel: Channel) -> None:
        """A call on one of its channels has failed."""
        if isinstance(error, NodeUnavailable):
            self.errors["unavailable"] += 1
            if channel is self._channel:
                self.broke(str(error))
        elif isinstance(error, NodeFault):
            self.faulted(str(error))
        else:
            self.errors[_KINDS.get(type(error), "other")] += 1

    def answered(self) -> None:
        """It answered as something sound answers."""
        self.health = self.health.call_answered()

    def broke(self, reason: str) -> None:
        """A call found it gone."""
        self._become(self.health.call_broke(time.monotonic(), self._options, reason))

    def faulted(self, reason: str) -> None:
        """It answered, but as something broken answers."""
        self.errors["fault"] += 1
        self._become(self.health.call_faulted(time.monotonic(), self._options, reason))

    @property
    def elects(self) -> bool:
        """Does it elect a leader with others of its role?"""
        return self.claim is not None or ELECTION in self.capabilities

    def stands_by(self) -> None:
        """It refused a write because it does not lead."""
        self._claims(Claim(leading=False))

    @property
    def probing(self) -> bool:
        """Is a probe under way?"""
        return self._probe is not None and not self._probe.done()

    def probe(self) -> asyncio.Task[bool]:
        """Ask whether it lives; those who ask at once share one probe."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._probe_once(), name=f"probe-{self.name}")
        return self._probe

    async def close(self) -> None:
        """Close the channels; calls under way fail."""
        if self._probe is not None:
            self._probe.cancel()
        for channel in (*self._retired, self._channel):
            await channel.close()

    async def _probe_once(self) -> bool:
        deadline = Deadline.after(self._options.probe_timeout_ms / 1000)
        try:
            if not self.version:
                await self._introduce(deadline)
            elif not self.elects:
                await self.ask("status", deadline)
            if self.elects:
                self._claims(Claim.parse(await self.ask(LEADER_COMMAND, deadline)))
        except MishardsError as error:
            self.version = "" if isinstance(error, NodeError) else self.version
            self._become(self.health.probe_failed(time.monotonic(), self._options, str(error)))
            return False
        self._become(self.health.probe_answered(time.monotonic(), self._options))
        return True

    async def _introduce(self, deadline: Deadline) -> None:
        version = await self.ask("version", deadline)
        if not version.startswith(_VERSIONS):
            raise NodeFault(self.record.address, f"it answers as version {version!r}; 1.0.x and 1.1.x are served")
        self.capabilities = self.record.capabilities | _capabilities(await self.ask(CAPABILITIES_COMMAND, deadline))
        self.version = version

    async def ask(self, command: str, deadline: Deadline) -> str:
        """What it answers to a ``Cmd``; counts for nothing. Raises NodeError."""
        request = milvus_pb2.Command(cmd=command).SerializeToString()
        raw = await self._channel.call("Cmd", request, deadline=deadline)
        reply: str = milvus_pb2.StringReply.FromString(raw).string_reply
        return reply

    def _claims(self, claim: Claim | None) -> None:
        before, self.claim = self.claim, claim
        if claim != before:
            log.info("writable node name=%s claim=%s", self.name, claim)
            self._on_change()

    def _become(self, health: Health) -> None:
        before, self.health = self.health, health
        if health.state is not before.state:
            down = health.state is HealthState.DOWN
            if down and self.elects:
                self.claim = Claim(leading=False)
            self.trips += int(down)
            level = logging.WARNING if down else logging.INFO
            log.log(level, "node name=%s state=%s reason=%r", self.name, health.state.value, health.reason)
            self._on_change()


class _Begun:
    """A call without a task."""

    __slots__ = ("_began", "_channel", "_method", "_node", "_outcome", "given_up")
    given_up: GiveUp

    def __init__(self, node: Node, channel: Channel, method: str, outcome: Outcome) -> None:
        self._node = node
        self._channel = channel
        self._method = method
        self._outcome = outcome
        self._began = time.monotonic()

    def ended(self, reply: bytes, error: MishardsError | None) -> None:
        node = self._node
        node.outstanding -= 1
        if error is None:
            node.took(self._method, self._began)
        elif isinstance(error, NodeError):
            node.failed(error, self._channel)
        self._outcome(reply, error)

    def give_up(self) -> None:
        self._node.outstanding -= 1
        self.given_up()


def _capabilities(answer: str) -> frozenset[str]:
    """The extensions a node says it has; a Milvus server answers no JSON object, and so has none."""
    try:
        listed = json.loads(answer)["capabilities"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return frozenset()
    return frozenset(str(item) for item in listed) if isinstance(listed, list) else frozenset()


def passed_on(metadata: Metadata) -> Metadata:
    """What of a client's metadata concerns the node: its request id and its trace context."""
    return [(key, value) for key, value in metadata if key in ("request_id", "uber-trace-id", "traceparent")]
