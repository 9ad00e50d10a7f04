"""The grpcio transport keeps the contract of the seam: statuses, deadlines, cancellation, metadata."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from mishards.deadline import Deadline
from mishards.errors import (
    MalformedRequest,
    NodeOverloaded,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    Overloaded,
    RpcStatus,
    StartError,
    UnknownMethod,
)
from mishards.transport.api import Call, Channel, ServerOptions
from mishards.transport.grpcio import GrpcioTransport


@asynccontextmanager
async def serving(
    handler: Callable[[Call], Awaitable[bytes]], options: ServerOptions | None = None
) -> AsyncIterator[Channel]:
    transport = GrpcioTransport()
    server = transport.server(handler, options or ServerOptions(address="127.0.0.1:0"))
    channel = transport.channel(await server.start())
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(0)


def in_5_s() -> Deadline:
    return Deadline.after(5)


async def test_a_call_carries_method_bytes_metadata_and_deadline() -> None:
    seen: list[Call] = []

    async def handler(call: Call) -> bytes:
        seen.append(call)
        return call.request[::-1]

    async with serving(handler) as channel:
        assert await channel.call("Search", b"abc", deadline=in_5_s(), metadata=[("request_id", "7")]) == b"cba"
    assert seen[0].method == "Search"
    assert ("request_id", "7") in seen[0].metadata
    assert 0 < seen[0].deadline.remaining() <= 5


async def test_a_message_of_many_megabytes_passes_both_ways() -> None:
    async def handler(call: Call) -> bytes:
        return bytes(call.request)

    payload = bytes(20 << 20)
    async with serving(handler) as channel:
        assert await channel.call("Insert", payload, deadline=Deadline.after(30)) == payload


@pytest.mark.parametrize(
    ("raised", "expected", "status"),
    [
        (UnknownMethod("Nope"), NodeRejected, RpcStatus.UNIMPLEMENTED),
        (MalformedRequest("cut short"), NodeRejected, RpcStatus.INVALID_ARGUMENT),
        (ValueError("bug"), NodeRejected, RpcStatus.UNKNOWN),
        (Overloaded("full"), NodeOverloaded, None),
    ],
)
async def test_an_error_of_the_handler_arrives_as_its_status(
    raised: Exception, expected: type[Exception], status: RpcStatus | None
) -> None:
    async def handler(call: Call) -> bytes:
        raise raised

    async with serving(handler) as channel:
        with pytest.raises(expected) as caught:
            await channel.call("Search", b"", deadline=in_5_s())
    if isinstance(caught.value, NodeRejected):
        assert caught.value.status is status


async def test_a_verdict_of_a_node_is_handed_on_unchanged() -> None:
    async def node(call: Call) -> bytes:
        raise MalformedRequest("byte 3 ends the message")

    async with serving(node) as inner:

        async def router(call: Call) -> bytes:
            return await inner.call(call.method, call.request, deadline=call.deadline)

        async with serving(router) as outer:
            with pytest.raises(NodeRejected) as caught:
                await outer.call("Search", b"", deadline=in_5_s())
    assert (caught.value.status, caught.value.details) == (RpcStatus.INVALID_ARGUMENT, "byte 3 ends the message")


async def test_a_passed_deadline_is_a_timeout_and_cancels_the_handler() -> None:
    cancelled = asyncio.Event()

    async def handler(call: Call) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async with serving(handler) as channel:
        with pytest.raises(NodeTimeout):
            await channel.call("Search", b"", deadline=Deadline.after(0.1))
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_caller_that_gives_up_cancels_the_handler() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> bytes:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async with serving(handler) as channel:
        task = asyncio.create_task(channel.call("Search", b"", deadline=in_5_s()))
        await asyncio.wait_for(started.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_an_address_where_nobody_listens_is_unavailable_and_never_sent() -> None:
    channel = GrpcioTransport().channel("127.0.0.1:1")
    with pytest.raises(NodeUnavailable) as caught:
        await channel.call("Search", b"", deadline=in_5_s())
    assert not caught.value.sent
    await channel.close()


async def test_closing_a_channel_ends_the_calls_on_it() -> None:
    started = asyncio.Event()

    async def handler(call: Call) -> bytes:
        started.set()
        await asyncio.sleep(60)
        return b""

    async with serving(handler) as channel:
        task = asyncio.create_task(channel.call("Search", b"", deadline=in_5_s()))
        await asyncio.wait_for(started.wait(), 5)
        await channel.close()
        with pytest.raises(NodeUnavailable):
            await task
        with pytest.raises(NodeUnavailable):
            await channel.call("Search", b"", deadline=in_5_s())


async def test_a_second_server_on_the_same_port_cannot_start() -> None:
    async def handler(call: Call) -> bytes:
        return b""

    async with serving(handler) as channel:
        second = GrpcioTransport().server(handler, ServerOptions(address=channel.address))
        with pytest.raises(StartError, match="in use"):
            await second.start()


async def test_a_request_over_the_size_limit_is_refused_and_the_server_lives() -> None:
    async def handler(call: Call) -> bytes:
        return b"ok"

    options = ServerOptions(address="127.0.0.1:0", max_message_bytes=1000)
    async with serving(handler, options) as channel:
        with pytest.raises(NodeOverloaded):
            await channel.call("Insert", bytes(2000), deadline=in_5_s())
        assert await channel.call("Insert", bytes(10), deadline=in_5_s()) == b"ok"
