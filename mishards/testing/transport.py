"""What every transport must do; subclass and say how yours is made. Needs pytest-asyncio in its automatic mode."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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
    StartError,
    UnknownMethod,
)
from mishards.transport.api import Call, Channel, Handler, ServerOptions, Transport

_ANY = ServerOptions(address="127.0.0.1:0")
_PATIENCE_S = 30


def soon() -> Deadline:
    """Far more time than a call needs."""
    return Deadline.after(_PATIENCE_S)


@asynccontextmanager
async def serving(transport: Transport, handler: Handler, options: ServerOptions = _ANY) -> AsyncIterator[Channel]:
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
    await asyncio.wait_for(event.wait(), _PATIENCE_S)


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
        assert 0 < seen[0].deadline.remaining() <= _PATIENCE_S * 1.01
        assert seen[0].peer.startswith("ipv4:127.0.0.1:")

    async def test_a_call_without_a_deadline_has_none_at_the_server(self, transport: Transport) -> None:
        seen: list[Deadline] = []

        async def handler(call: Call) -> bytes:
            seen.append(call.deadline)
            return b""

        async with serving(transport, handler) as channel:
            assert await channel.call("Search", b"", deadline=Deadline.never()) == b""
        assert seen == [Deadline.never()]

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


class ConnectionSuite:
    """What channels and servers do beyond one call; the fixture ``transport`` gives one."""

    @pytest.fixture
    def transport(self) -> Transport:
        """Override: the transport."""
        raise NotImplementedError

    async def test_an_address_where_nobody_listens_is_unavailable_and_never_sent(self, transport: Transport) -> None:
        channel = transport.channel("127.0.0.1:1")
        assert channel.address == "127.0.0.1:1"
        for _ in range(3):
            with pytest.raises(NodeUnavailable) as caught:
                await channel.call("Search", b"", deadline=soon())
            assert not caught.value.sent
        await channel.close()

    async def test_closing_a_channel_ends_the_calls_on_it(self, transport: Transport) -> None:
        held = Held()
        async with serving(transport, held) as channel:
            task = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
            await within(held.begun)
            await channel.close()
            with pytest.raises(NodeUnavailable):
                await task
            with pytest.raises(NodeUnavailable) as caught:
                await channel.call("Search", b"", deadline=soon())
            assert not caught.value.sent
            await channel.close()
            await within(held.cancelled)

    async def test_a_second_server_on_the_same_port_cannot_start(self, transport: Transport) -> None:
        async with serving(transport, echo) as channel:
            second = transport.server(echo, ServerOptions(address=channel.address))
            with pytest.raises(StartError, match="in use"):
                await second.start()

    async def test_servers_that_agree_to_can_share_a_port(self, transport: Transport) -> None:
        async with serving(transport, echo, ServerOptions("127.0.0.1:0", reuse_port=True)) as channel:
            second = transport.server(echo, ServerOptions(channel.address, reuse_port=True))
            assert await second.start() == channel.address
            assert await channel.call("Search", b"x", deadline=soon()) == b"x"
            await second.stop(0)

    async def test_a_unix_socket_serves_too(self, transport: Transport, tmp_path: Path) -> None:
        address = f"unix:{tmp_path}/socket"
        for _ in range(2):
            async with serving(transport, echo, ServerOptions(address)) as channel:
                assert channel.address == address
                assert await channel.call("Search", b"x", deadline=soon()) == b"x"

    async def test_a_request_over_the_size_limit_is_refused_and_the_server_lives(self, transport: Transport) -> None:
        options = ServerOptions(address="127.0.0.1:0", max_message_bytes=1000)
        async with serving(transport, echo, options) as channel:
            for size in (1001, 300_000, 3_000_000):
                with pytest.raises(NodeOverloaded):
                    await channel.call("Insert", bytes(size), deadline=soon())
            assert await channel.call("Insert", bytes(1000), deadline=soon()) == bytes(1000)

    async def test_a_call_beyond_the_most_at_once_is_refused(self, transport: Transport) -> None:
        held = Held()
        async with serving(transport, held, ServerOptions("127.0.0.1:0", max_concurrent_calls=1)) as channel:
            first = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
            await within(held.begun)
            with pytest.raises(NodeOverloaded):
                await channel.call("Search", b"", deadline=soon())
            held.released.set()
            assert await first == b"released"
            assert await self._at_last(channel, b"") == b"released"

    async def test_a_stopping_server_lets_calls_under_way_end(self, transport: Transport) -> None:
        held = Held()
        server = transport.server(held, _ANY)
        channel = transport.channel(await server.start())
        task = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
        await within(held.begun)
        stopping = asyncio.create_task(server.stop(_PATIENCE_S))
        await self._refuses(transport, channel.address)
        held.released.set()
        assert await task == b"released"
        await asyncio.wait_for(stopping, _PATIENCE_S)
        await server.stop(0)
        await channel.close()

    async def _refuses(self, transport: Transport, address: str) -> None:
        """Return once new connections are refused."""
        deadline = soon()
        while deadline.remaining():
            newcomer = transport.channel(address)
            try:
                await newcomer.call("Search", b"", deadline=Deadline.after(0.2))
            except NodeUnavailable:
                return
            except NodeTimeout:
                continue
            finally:
                await newcomer.close()
        raise AssertionError("the server goes on taking calls")

    async def test_what_outlasts_the_grace_is_cancelled(self, transport: Transport) -> None:
        held = Held()
        server = transport.server(held, _ANY)
        channel = transport.channel(await server.start())
        task = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
        await within(held.begun)
        await server.stop(0.05)
        with pytest.raises(MishardsError):
            await task
        await within(held.cancelled)
        await channel.close()

    async def test_a_channel_outlives_its_server(self, transport: Transport) -> None:
        async with serving(transport, echo) as first:
            address = first.address
            channel = transport.channel(address)
            assert await channel.call("Search", b"1", deadline=soon()) == b"1"
        with pytest.raises(NodeUnavailable):
            await channel.call("Search", b"2", deadline=soon())
        async with serving(transport, echo, ServerOptions(address)):
            assert await self._at_last(channel, b"3") == b"3"
        await channel.close()

    async def _at_last(self, channel: Channel, request: bytes) -> bytes:
        """The reply, after however many attempts."""
        deadline = soon()
        while True:
            try:
                return await channel.call("Search", request, deadline=deadline)
            except (NodeUnavailable, NodeOverloaded):
                if not deadline.remaining():
                    raise
            await asyncio.sleep(0.02)
