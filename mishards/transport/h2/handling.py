"""Requests that are whole, the handlers that answer them, and how each call ends.

Belongs to one event loop. A handler runs as a task that its stream owns: it is cancelled when the stream is reset, when
its deadline passes and when the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from mishards.deadline import Deadline
from mishards.errors import MishardsError, RpcStatus
from mishards.transport.api import Call, GiveUp, Handler, begin_of
from mishards.transport.h2.connection import Connection
from mishards.transport.h2.frames import ErrorCode
from mishards.transport.h2.grpc_fields import REPLY_HEAD, Answer, RequestHead
from mishards.transport.h2.headers import text_fields
from mishards.transport.h2.message import MessageFault, inflated
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.replies import write_answer, write_reply
from mishards.transport.h2.stream import Stream
from mishards.transport.h2.timers import Deadlines
from mishards.transport.status import status_of

log = logging.getLogger(__name__)

_INFLATED_ON_THE_LOOP: Final = 64 << 10
"""A larger message is decompressed on a thread."""
_NEVER: Final = Deadline.never()


class ServedStream(Stream):
    """A request, and what answers it: a task, or what can be given up."""

    __slots__ = ("call", "connection", "deadline", "give_up", "head", "started", "task")

    def __init__(self, connection: Handling, stream_id: int, head: RequestHead) -> None:
        super().__init__(stream_id, connection.outbox.initial_window, connection.stream_window)
        self.connection = connection
        self.head = head
        self.deadline = _NEVER
        self.call: Call | None = None
        self.give_up: GiveUp | None = None
        self.task: asyncio.Task[None] | None = None
        self.started = False

    def answered(self, reply: bytes, error: MishardsError | None) -> None:
        """The outcome of a call that was begun without a task."""
        self.connection.answered(self, reply, error)


@dataclass
class Service:
    """What the connections of one server share."""

    loop: asyncio.AbstractEventLoop
    handler: Handler
    options: H2Options
    max_message_bytes: int
    max_calls: int
    deadlines: Deadlines[ServedStream]
    running: int = 0
    """Calls whose handlers have not ended."""
    connections: set[Handling] = field(default_factory=set)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.begin = begin_of(self.handler)

    @property
    def max_inflated_bytes(self) -> int:
        """Bound of a message after decompression."""
        return self.max_message_bytes if self.max_message_bytes >= 0 else self.options.max_inflated_bytes


class Handling(Connection[ServedStream]):
    """A connection whose whole requests are handled."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.loop, service.options, service.options.request_window)
        self.max_message_bytes = service.max_message_bytes
        self.service = service
        self.peer = ""
        self.peer_names: tuple[str, ...] = ()
        self.running = 0
        """Handlers of this connection that have not ended, those of streams that are over included."""

    # --- for the subclass to say ---

    def drain(self) -> None:
        """Take no new calls; close once those under way have ended."""
        raise NotImplementedError

    def cut(self) -> None:
        """End what is under way, and close."""
        raise NotImplementedError

    def stream_over(self) -> None:
        """A stream was forgotten."""
        raise NotImplementedError

    # --- from request to task ---

    def watch(self, stream: ServedStream, timeout_s: float) -> None:
        """Let a stream end when its time is up."""
        stream.deadline = Deadline.after(timeout_s)
        stream.deadline_key = self.service.deadlines.add(stream.deadline.at, stream)

    def stream_ended(self, stream: ServedStream) -> None:
        service, head, message = self.service, stream.head, stream.message
        if 0 <= head.length != stream.received:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        elif message.body is None:
            self.answer(stream, Answer(status=RpcStatus.INTERNAL, message="the request ended before its message"))
        elif 0 < service.max_calls <= service.running:
            text = f"{service.max_calls} calls are under way already; try again later"
            self.answer(stream, Answer(status=RpcStatus.RESOURCE_EXHAUSTED, message=text))
        else:
            call = stream.call = Call(head.method, message.body, head.metadata, stream.deadline, self.peer)
            call.peer_names = self.peer_names
            service.running += 1
            self.running += 1
            if service.begin is not None and not message.compressed:
                stream.give_up = service.begin(call, stream.answered)
            if stream.give_up is None:
                stream.task = self.loop.create_task(self._serve(stream, call))

    def answered(self, stream: ServedStream, reply: bytes, error: MishardsError | None) -> None:
        """A call that was begun without a task has ended."""
        call, stream.call, stream.give_up = stream.call, None, None
        self._task_over()
        if call is None:
            return
        if error is None:
            self._reply(stream, call, reply)
        else:
            self._fail(stream, call, *status_of(error))

    async def _serve(self, stream: ServedStream, call: Call) -> None:
        stream.started = True
        try:
            if stream.message.compressed:
                call.request = await self._inflated(stream, call.request)
            reply = await self.service.handler(call)
            self._reply(stream, call, reply)
        except MessageFault as fault:
            self._fail(stream, call, fault.status, str(fault))
        except MishardsError as error:
            self._fail(stream, call, *status_of(error))
        except asyncio.CancelledError:
            self._fail(stream, call, RpcStatus.CANCELLED, "the call was cancelled")
            raise
        except Exception as error:  # the RPC boundary: a bug must answer, not hang the client
            log.exception("%s failed in a way that is a bug", call.method)
            self._fail(stream, call, RpcStatus.UNKNOWN, f"{type(error).__name__}: {error}")
        finally:
            self._task_over()

    async def _inflated(self, stream: ServedStream, body: bytes) -> bytes:
        work = body, stream.head.encoding, self.service.max_inflated_bytes
        if len(body) <= _INFLATED_ON_THE_LOOP:
            return inflated(*work)
        return await self.loop.run_in_executor(None, inflated, *work)

    def _task_over(self) -> None:
        self.service.running -= 1
        self.running -= 1

    # --- how a stream ends ---

    def _reply(self, stream: ServedStream, call: Call, reply: bytes) -> None:
        if self.streams.get(stream.id) is not stream:
            return
        stream.task = None
        head = REPLY_HEAD
        if call.reply_metadata or self.table_update:
            head = self._table_update() + REPLY_HEAD + _fields_of(call)
        if write_reply(self.outbox, stream, reply, head):
            self._over(stream)

    def _table_update(self) -> bytes:
        update, self.table_update = self.table_update, b""
        return update

    def message_sent(self, stream: Stream) -> None:
        self._over(self.streams[stream.id])

    def _fail(self, stream: ServedStream, call: Call, status: RpcStatus, message: str) -> None:
        """End a call from within its own task."""
        if self.streams.get(stream.id) is stream:
            stream.task = None
            self.answer(stream, Answer(status=status, message=message), _fields_of(call))

    def answer(self, stream: ServedStream, answer: Answer, metadata: bytes = b"") -> None:
        """End a stream with a status and no message; what runs for it is cancelled."""
        write_answer(self.outbox, stream, answer, self._table_update(), metadata)
        if not stream.ended:
            self.send_reset(stream.id, ErrorCode.NO_ERROR)
        self._over(stream)

    def message_refused(self, stream: ServedStream, fault: MessageFault) -> None:
        self.answer(stream, Answer(status=fault.status, message=str(fault)))

    def stream_broken(self, stream: ServedStream, code: int, *, by_peer: bool) -> None:
        self.cancel(stream)
        self.stream_over()

    def expired(self, stream: ServedStream) -> None:
        """The deadline of a stream passed."""
        if self.streams.get(stream.id) is not stream:
            return
        self.end(stream, Answer(status=RpcStatus.DEADLINE_EXCEEDED, message="the deadline passed"))

    def end(self, stream: ServedStream, answer: Answer) -> None:
        """End a stream as ``answer`` does, or by a reset when a part of its reply is on its way."""
        if stream.outgoing is not None:
            self.reset(stream, ErrorCode.CANCEL)
        else:
            self.answer(stream, answer)

    def _over(self, stream: ServedStream) -> None:
        self.forget(stream)
        self.earn()
        self.cancel(stream)
        self.stream_over()

    def cancel(self, stream: ServedStream) -> None:
        """Nobody waits for a stream any more."""
        if stream.deadline_key is not None:
            self.service.deadlines.discard(stream.deadline_key, stream)
        task, give_up = stream.task, stream.give_up
        if give_up is not None:
            stream.give_up = None
            self._task_over()
            give_up()
        if task is not None and not task.done():
            task.cancel()
            if not stream.started:  # then nothing of the task will ever run
                self._task_over()


def _fields_of(call: Call) -> bytes:
    try:
        return text_fields(call.reply_metadata)
    except ValueError as error:
        log.warning("%s: left out of the reply: %s", call.method, error)
        return b""
