"""What a call must be in every transport; subclass and say how yours is made. Needs pytest-asyncio in auto mode."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mishards.deadline import Deadline
from mishards.errors import (
    DeadlineExceeded,
    MalformedRequest,
    MishardsError,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    NoSearchNode,
    Overloaded,
    RpcStatus,
    UnknownMethod,
)
from mishards.transport.api import Call, Channel, Handler, ServerOptions, Transport

ANY = ServerOptions(address="127.0.0.1:0")
"""A free port of this machine."""
PATIENCE_S = 30
"""How long anything may take."""


def soon() -> Deadline:
    """Far more time than a call needs."""
    return Deadline.after(PATIENCE_S)


@asynccontextmanager
async def serving(transport: Transport, handler: Handler, options: ServerOptions = ANY) -> AsyncIterator[Channel]:
    """Serve a handler; give a channel to it."""
    server = transport.server(handler, options)
    channel = transport.channel(await server.start())
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(0)


async def echo(call: Call) -> bytes:
    """Answer with the request."""
    return call.request


class Held:
    """A handler whose calls stay under way until they are released; it knows which began and which were cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.released = asyncio.Event()
        self.under_way = 0

    async def __call__(self, call: Call) -> bytes:
        """Wait."""
        self.under_way += 1
        self.begun.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.under_way -= 1
        return b"released"


async def within(event: asyncio.Event) -> None:
    """Wait for an event, with a deadline."""
    await asyncio.wait_for(event.wait(), PATIENCE_S)


class CallSuite:
    """What one call does; the fixture ``transport`` gives one."""

    @pytest.fixture
    def transport(self) -> Transport:
        """Override: the transport."""
        raise NotImplementedError

    async def test_a_call_carries_method_bytes_metadata_and_deadline(self, transport: Transport) -> None:
        seen: list[Call] = []

        async def handler(call: Call) -> bytes:
            seen.append(call)
            return call.request[::-1]

        async with serving(transport, handler) as channel:
            reply = await channel.call("Search", b"abc", deadline=soon(), metadata=[("request_id", "7")])
        assert reply == b"cba"
        assert isinstance(seen[0].request, bytes)
        assert seen[0].method == "Search"
        assert ("request_id", "7") in seen[0].metadata
        assert 0 < seen[0].deadline.remaining() <= PATIENCE_S * 1.01
        assert seen[0].peer.startswith("ipv4:127.0.0.1:")

    async def test_a_call_without_a_deadline_has_none_at_the_server(self, transport: Transport) -> None:
        seen: list[Deadline] = []

        async def handler(call: Call) -> bytes:
            seen.append(call.deadline)
            return b""

        async with serving(transport, handler) as channel:
            assert await channel.call("Search", b"", deadline=Deadline.never()) == b""
        assert [deadline.timeout() for deadline in seen] == [None]

    @pytest.mark.parametrize("size", [0, 1, 4, 5, 16_379, 16_380, 65_530, 65_535, 65_536, 1_000_003])
    async def test_a_message_of_any_size_passes_both_ways(self, transport: Transport, size: int) -> None:
        payload = bytes(range(256)) * (size // 256 + 1)
        async with serving(transport, echo) as channel:
            assert await channel.call("Insert", payload[:size], deadline=soon()) == payload[:size]

    async def test_a_message_of_many_megabytes_passes_both_ways(self, transport: Transport) -> None:
        payload = bytes(20 << 20)
        async with serving(transport, echo) as channel:
            assert await channel.call("Insert", payload, deadline=soon()) == payload

    async def test_many_calls_at_once_get_each_its_own_reply(self, transport: Transport) -> None:
        async def handler(call: Call) -> bytes:
            if len(call.request) % 3 == 0:
                await asyncio.sleep(0)
            return call.request * 2

        requests = [b"%d" % number * (number * 37 % 4001) for number in range(200)]
        async with serving(transport, handler) as channel:
            calls = [channel.call("Search", request, deadline=soon()) for request in requests]
            assert await asyncio.gather(*calls) == [request * 2 for request in requests]

    async def test_reply_metadata_does_not_disturb_the_reply(self, transport: Transport) -> None:
        async def handler(call: Call) -> bytes:
            call.reply_metadata.append(("request_id", "8"))
            if not call.request:
                raise UnknownMethod("Nope")
            return call.request

        async with serving(transport, handler) as channel:
            assert await channel.call("Search", b"x", deadline=soon()) == b"x"
            with pytest.raises(NodeRejected, match="Nope"):
                await channel.call("Search", b"", deadline=soon())

    @pytest.mark.parametrize(
        ("raised", "expected", "status"),
        [
            (UnknownMethod("Nope"), NodeRejected, RpcStatus.UNIMPLEMENTED),
            (MalformedRequest("cut short"), NodeRejected, RpcStatus.INVALID_ARGUMENT),
            (ValueError("bug"), NodeRejected, RpcStatus.UNKNOWN),
            (Overloaded("full"), NodeOverloaded, None),
            (NoSearchNode("none"), NodeUnavailable, None),
            (DeadlineExceeded("late"), NodeTimeout, None),
        ],
    )
    async def test_an_error_of_the_handler_arrives_as_its_status(
        self, transport: Transport, raised: Exception, expected: type[MishardsError], status: RpcStatus | None
    ) -> None:
        async def handler(call: Call) -> bytes:
            raise raised

        async with serving(transport, handler) as channel:
            with pytest.raises(expected) as caught:
                await channel.call("Search", b"", deadline=soon())
        assert getattr(caught.value, "sent", None) is True
        if isinstance(caught.value, NodeRejected):
            assert caught.value.status is status

    async def test_a_verdict_of_a_node_is_handed_on_unchanged(self, transport: Transport) -> None:
        text = "byte 3 ends the message: 100 % — \n«größer»"

        async def node(call: Call) -> bytes:
            raise MalformedRequest(text)

        async with serving(transport, node) as inner:

            async def router(call: Call) -> bytes:
                return await inner.call(call.method, call.request, deadline=call.deadline)

            async with serving(transport, router) as outer:
                with pytest.raises(NodeRejected) as caught:
                    await outer.call("Search", b"", deadline=soon())
        assert (caught.value.status, caught.value.details) == (RpcStatus.INVALID_ARGUMENT, text)

    async def test_a_passed_deadline_is_a_timeout_and_cancels_the_handler(self, transport: Transport) -> None:
        held, deadline = Held(), soon()
        async with serving(transport, held) as channel:
            while not held.cancelled.is_set() and deadline.remaining():  # the first may time out before it is begun
                await self._times_out(channel, Deadline.after(0.1))
        assert held.cancelled.is_set()

    async def _times_out(self, channel: Channel, deadline: Deadline) -> None:
        with pytest.raises(NodeTimeout):
            await channel.call("Search", b"", deadline=deadline)

    async def test_a_deadline_that_has_passed_already_is_a_timeout(self, transport: Transport) -> None:
        async with serving(transport, echo) as channel:
            await channel.call("Search", b"", deadline=soon())
            await self._times_out(channel, Deadline.after(0))

    async def test_a_caller_that_gives_up_cancels_the_handler(self, transport: Transport) -> None:
        held = Held()
        async with serving(transport, held) as channel:
            task = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
            await within(held.begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await within(held.cancelled)
            held.released.set()
            assert await channel.call("Search", b"", deadline=soon()) == b"released"
