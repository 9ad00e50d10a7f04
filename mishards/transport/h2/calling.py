"""The client's end of a connection: calls out, replies in.

Belongs to one event loop. Who makes a call gives its outcome, which is told the reply's bytes or the error of the seam.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final

from mishards.deadline import Deadline
from mishards.errors import MishardsError, NodeFault, NodeTimeout, NodeUnavailable
from mishards.transport.api import Outcome
from mishards.transport.h2 import frames
from mishards.transport.h2.connection import Connection
from mishards.transport.h2.frames import (
    DATA,
    DEFAULT_MAX_FRAME,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_STREAM_ID,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    Setting,
)
from mishards.transport.h2.grpc_fields import ReplyHead, parsed_reply
from mishards.transport.h2.headers import HeaderDecoder
from mishards.transport.h2.keepalive import Keepalive
from mishards.transport.h2.message import PREFIX, MessageFault, inflated
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.outcome import failure, failure_of_reset
from mishards.transport.h2.stream import Stream
from mishards.transport.h2.timers import Deadlines
from mishards.transport.h2.turns import Turns

_DATA_AND_PREFIX: Final = Struct(">HBBBI BI")

_INFLATED_ON_THE_LOOP: Final = 64 << 10
"""A larger message is decompressed on a thread."""


def _to_nobody(reply: bytes, error: MishardsError | None) -> None:
    """The outcome of a call that was given up."""


class CallStream(Stream):
    """A call under way."""

    __slots__ = ("connection", "flushes", "head", "outcome")

    def __init__(self, connection: CallingConnection, stream_id: int, outcome: Outcome) -> None:
        super().__init__(stream_id, connection.outbox.initial_window, connection.stream_window)
        self.connection = connection
        self.outcome = outcome
        self.head: ReplyHead | None = None
        self.flushes = connection.outbox.flushes

    def give_up(self) -> None:
        """Nobody waits for the reply any more: cancel the call at the peer."""
        self.outcome = _to_nobody
        self.connection.give_up(self)

    @property
    def sent(self) -> bool:
        """May the peer have had a byte of it?"""
        return self.connection.outbox.flushes > self.flushes


class CallingConnection(Connection[CallStream]):
    """One connection to one address."""

    def __init__(
        self,
        address: str,
        options: H2Options,
        deadlines: Deadlines[CallStream],
        lost: Callable[[CallingConnection], None],
    ) -> None:
        """``lost`` is called once, when no further call can be made on it and none is under way."""
        super().__init__(asyncio.get_running_loop(), options, options.reply_window)
        self.address = address
        self.ready: asyncio.Future[None] = self.loop.create_future()
        """Done once calls can be made; fails when that will never be."""
        self.replies = 0
        """Calls that ended on it, in whatever way but by its own end."""
        self._deadlines = deadlines
        self._lost = lost
        self._heads = HeaderDecoder(parsed_reply, options.max_header_bytes)
        self._next_id = 1
        self._leaving = False
        self._max_streams = MAX_STREAM_ID
        self._turns = Turns(self._room)
        self._keepalive = Keepalive(self)

    # --- the connection ---

    def opened(self) -> None:
        self.outbox.write(PREFACE, self.greet({Setting.ENABLE_PUSH: 0}))
        self.outbox.flush()
        self._keepalive.begin()

    @property
    def usable(self) -> bool:
        """May calls be made on it?"""
        return not (self.closed or self._leaving)

    @property
    def full(self) -> bool:
        """Are as many calls under way as the peer allows?"""
        return len(self.streams) >= self._max_streams

    async def slot(self, deadline: Deadline) -> None:
        """Wait until a call may be made, or the connection is of no use, or the time is up."""
        await self._turns.wait(deadline)

    def _room(self) -> int:
        """How many more calls may be made; all may look for another connection when none can be made on this one."""
        return self._max_streams - len(self.streams) if self.usable else MAX_STREAM_ID

    def settings_changed(self, values: dict[int, int]) -> None:
        self._max_streams = values.get(Setting.MAX_CONCURRENT_STREAMS, self._max_streams)
        self._turns.wake()
        if not self.ready.done():
            self.ready.set_result(None)

    def ping_answered(self, opaque: bytes) -> None:
        self._keepalive.answered()

    def is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_id or not stream_id & 1

    def goaway_arrived(self, last_stream_id: int, code: int, text: str) -> None:
        self._leaving = True
        message = f"it takes no more calls: {text or ErrorCode.NO_ERROR.name}"
        for stream in [stream for stream in self.streams.values() if stream.id > last_stream_id]:
            if stream.id in self.streams:  # the outcome of another may have given it up
                self._end_with(stream, NodeUnavailable(self.address, message, sent=False))
        self._turns.wake()
        self._close_if_done()

    def all_broken(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(reason))
            self.ready.exception()  # looked at, so that asyncio does not complain
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            self._settle(stream, NodeUnavailable(self.address, reason, sent=stream.sent))
        self._turns.wake()
        self._lost(self)

    def _close_if_done(self) -> None:
        if self._leaving and not self.streams and not self.closed:
            self.close("it takes no more calls")

    def leave(self, reason: str) -> None:
        """Say goodbye and close; what is under way fails."""
        self.outbox.write(frames.goaway(0, ErrorCode.NO_ERROR))
        self.close(reason)

    # --- calls out ---

    def begin(self, block: bytes, request: bytes, deadline: Deadline, outcome: Outcome) -> CallStream:
        """Send a call whose header block is ``block``."""
        stream_id = self._next_id
        self._next_id += 2
        stream = self.streams[stream_id] = CallStream(self, stream_id, outcome)
        if deadline.at != math.inf:
            stream.deadline_key = self._deadlines.add(deadline.at, stream)
        if self.table_update:
            block, self.table_update = self.table_update + block, b""
        outbox, size = self.outbox, len(request)
        length = size + PREFIX.size
        if len(block) <= DEFAULT_MAX_FRAME:
            outbox.write(frames.header(len(block), HEADERS, END_HEADERS, stream_id), block)
        else:
            outbox.write(frames.header_frames(stream_id, block, DEFAULT_MAX_FRAME, ended=False))
        if outbox.takes(stream, length):
            before = _DATA_AND_PREFIX.pack(length >> 8, length & 0xFF, DATA, END_STREAM, stream_id, 0, size)
            outbox.write(before, request)
        else:
            outbox.send(stream, PREFIX.pack(0, size), request, b"")
        if self._next_id > MAX_STREAM_ID:
            self._leaving = True
        return stream

    def give_up(self, stream: CallStream, error: MishardsError | None = None) -> None:
        """Cancel a call at the peer; whoever still waits for it gets ``error``."""
        if self.streams.get(stream.id) is stream:
            self.send_reset(stream.id, ErrorCode.CANCEL)
            self._end_with(stream, error)

    # --- replies in ---

    def stray(self) -> None:
        """A reply to a call that was given up: no fault of the peer's."""

    def headers_arrived(self, stream_id: int, block: bytes, ended: bool) -> None:
        if not self.greeted:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        head = self._heads.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which is idle")
            self.stray()
        elif ended:
            stream.ended = True
            self._finish(stream, head)
        elif stream.head is not None or head.malformed:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        elif 100 <= head.http < 200:
            self.nuisance()
        elif head.status < 0 and (head.http != 200 or not head.grpc):
            self.give_up(stream, failure(self.address, head, None))  # a proxy's page: what follows is no message
        else:
            stream.head = head

    def stream_ended(self, stream: CallStream) -> None:
        self._finish(stream, None)

    def _finish(self, stream: CallStream, trailers: ReplyHead | None) -> None:
        error = failure(self.address, stream.head or trailers, trailers)
        if error is None and stream.message.body is None:
            error = NodeFault(self.address, "it answered OK without a whole message")
        if stream.outgoing is not None:  # it answered before it had the request
            self.send_reset(stream.id, ErrorCode.NO_ERROR)
        self._end_with(stream, error)

    def message_refused(self, stream: CallStream, fault: MessageFault) -> None:
        self.give_up(stream, NodeFault(self.address, f"its reply cannot be read: {fault}"))

    def stream_broken(self, stream: CallStream, code: int, *, by_peer: bool) -> None:
        if by_peer:
            error = failure_of_reset(self.address, code)
        else:
            error = NodeFault(self.address, f"its reply was no reply: {ErrorCode(code).name}")
        self._settle(stream, error)
        self._stream_over()

    # --- how a call ends ---

    def expired(self, stream: CallStream) -> None:
        """The deadline of a call passed."""
        self.give_up(stream, NodeTimeout(self.address, "the deadline passed before it answered"))

    def _end_with(self, stream: CallStream, error: MishardsError | None) -> None:
        self.forget(stream)
        self._settle(stream, error)
        self._stream_over()

    def _settle(self, stream: CallStream, error: MishardsError | None) -> None:
        if stream.deadline_key is not None:
            self._deadlines.discard(stream.deadline_key, stream)
        if error is None and stream.message.compressed and stream.outcome is not _to_nobody:
            _inflate(stream)
            return
        outcome, stream.outcome = stream.outcome, _to_nobody  # who made the call may hold it, which would be a cycle
        if error is None:
            outcome(stream.message.body or b"", None)
        else:
            outcome(b"", error)

    def _stream_over(self) -> None:
        self.replies += 1
        self.earn()
        self._turns.wake()
        if self._leaving:
            self._close_if_done()


def _inflate(stream: CallStream) -> None:
    """Tell the outcome of a reply that was sent compressed."""
    connection, body = stream.connection, stream.message.body or b""
    work = partial(inflated, body, stream.head.encoding if stream.head else b"", connection.options.max_inflated_bytes)

    def tell(result: Callable[[], bytes]) -> None:
        try:
            reply = result()
        except MessageFault as fault:
            stream.outcome(b"", NodeFault(connection.address, f"its reply cannot be read: {fault}"))
        else:
            stream.outcome(reply, None)

    if len(body) > _INFLATED_ON_THE_LOOP:
        connection.loop.run_in_executor(None, work).add_done_callback(lambda done: tell(done.result))
    else:
        tell(work)
