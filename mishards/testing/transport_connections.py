"""What the channels and servers of every transport must do beyond one call; subclass and say how yours is made."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mishards.deadline import Deadline
from mishards.errors import MishardsError, NodeOverloaded, NodeTimeout, NodeUnavailable, StartError
from mishards.testing.transport import ANY, PATIENCE_S, Held, echo, serving, soon, within
from mishards.transport.api import Channel, ServerOptions, Transport


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
        server = transport.server(held, ANY)
        channel = transport.channel(await server.start())
        task = asyncio.create_task(channel.call("Search", b"", deadline=soon()))
        await within(held.begun)
        stopping = asyncio.create_task(server.stop(PATIENCE_S))
        await self._refuses(transport, channel.address)
        held.released.set()
        assert await task == b"released"
        await asyncio.wait_for(stopping, PATIENCE_S)
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
        server = transport.server(held, ANY)
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
