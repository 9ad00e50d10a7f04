"""Our own HTTP/2 with grpcio at the other end, and with balancers between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.haproxy import HAProxy
from harness.nginx import Nginx
from mishards.deadline import Deadline
from mishards.errors import MalformedRequest, NodeOverloaded, NodeRejected, NodeTimeout, NodeUnavailable, RpcStatus
from mishards.testing.transport import Held, serving, soon, within
from mishards.transport.api import SERVICE, Call, Channel, ServerOptions
from mishards.transport.h2.transport import H2Transport

SEARCH = f"/{SERVICE}/Search"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
BIG = bytes(range(256)) * 20_000


async def handler(call: Call) -> bytes:
    call.reply_metadata.append(("request_id", dict(call.metadata).get("request_id", "none")))
    if call.request == b"bad":
        raise MalformedRequest("100 % größer")
    if call.request == b"slow":
        await asyncio.sleep(60)
    return call.request


# --- grpcio calls our server ---


async def test_a_client_of_grpc_aio_is_served() -> None:
    async with serving(H2Transport(), handler) as ours, grpc.aio.insecure_channel(ours.address, UNLIMITED) as channel:
        stub: Any = channel.unary_unary(SEARCH)
        for request in (b"", b"x", bytes(65_536), BIG):
            assert await stub(request, timeout=30) == request
        assert await stub(BIG, timeout=30, compression=grpc.Compression.Gzip) == BIG
        assert await stub(BIG, timeout=30, compression=grpc.Compression.Deflate) == BIG
        replies = await asyncio.gather(*(stub(b"%d" % number, timeout=30) for number in range(300)))
        assert replies == [b"%d" % number for number in range(300)]

        call = stub(b"bad", timeout=30, metadata=[("request_id", "7"), ("x-bin", b"\0\1")])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "100 % größer")
        assert ("request_id", "7") in tuple(await call.initial_metadata())

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(b"slow", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/other/Search")(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_of_grpc_aio_that_cancels_cancels_the_handler() -> None:
    held = Held()
    async with serving(H2Transport(), held) as ours, grpc.aio.insecure_channel(ours.address) as channel:
        call = channel.unary_unary(SEARCH)(b"", timeout=30)
        await within(held.begun)
        call.cancel()
        await within(held.cancelled)


async def test_threads_of_a_synchronous_client_are_served() -> None:
    def calls(address: str) -> list[bytes]:
        with grpc.insecure_channel(address, UNLIMITED) as channel, ThreadPoolExecutor(8) as pool:
            stub: Any = channel.unary_unary(SEARCH)
            requests = [b"%d" % number * (number * 500 + 1) for number in range(60)]
            assert list(pool.map(lambda request: stub(request, timeout=30), requests)) == requests
            reply, call = stub.with_call(b"x", timeout=30, metadata=[("request_id", "8")])
            assert ("request_id", "8") in tuple(call.initial_metadata())
            return [reply, stub(BIG, timeout=30, compression=grpc.Compression.Gzip)]

    async with serving(H2Transport(), handler) as ours:
        assert await asyncio.to_thread(calls, ours.address) == [b"x", BIG]


async def test_a_client_of_grpcio_hears_of_the_end_of_the_server_and_finds_the_next() -> None:
    server = H2Transport().server(handler, ServerOptions("127.0.0.1:0"))
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = channel.unary_unary(SEARCH)
        assert await stub(b"1", timeout=30) == b"1"
        await server.stop(5)
        async with serving(H2Transport(), handler, ServerOptions(address)):
            assert await stub(b"2", timeout=30, wait_for_ready=True) == b"2"


# --- our channel calls servers of grpcio ---


class _Answers(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        return {
            "Search": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Compressed": grpc.unary_unary_rpc_method_handler(self._compressed),
            "Wait": grpc.unary_unary_rpc_method_handler(self._wait),
        }.get(method)

    def __init__(self) -> None:
        self.ended = threading.Event()

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode[request.decode()], "100 % größer")

    def _compressed(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return request

    def _wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.ended.set)
        self.ended.wait(30)
        return b""


@pytest.fixture
def answers() -> Iterator[tuple[str, _Answers]]:
    made = _Answers()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[made], options=UNLIMITED)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}", made
        made.ended.set()
        server.stop(None).wait(10)


@asynccontextmanager
async def channel_to(address: str) -> AsyncIterator[Channel]:
    channel = H2Transport().channel(address)
    try:
        yield channel
    finally:
        await channel.close()


async def test_a_server_of_grpcio_is_called(answers: tuple[str, _Answers]) -> None:
    async with channel_to(answers[0]) as channel:
        for request in (b"", b"x", bytes(65_536), BIG):
            assert await channel.call("Search", request, deadline=soon()) == request
        assert await channel.call("Compressed", BIG, deadline=soon()) == BIG
        requests = [b"%d" % number * 1000 for number in range(100)]
        calls = (channel.call("Search", request, deadline=soon()) for request in requests)
        assert await asyncio.gather(*calls) == requests
        for name, expected in (
            ("INVALID_ARGUMENT", NodeRejected),
            ("RESOURCE_EXHAUSTED", NodeOverloaded),
            ("UNAVAILABLE", NodeUnavailable),
            ("DEADLINE_EXCEEDED", NodeTimeout),
        ):
            with pytest.raises(expected) as caught:
                await channel.call("Fail", name.encode(), deadline=soon())
            if isinstance(caught.value, NodeRejected):
                assert (caught.value.status, caught.value.details) == (RpcStatus.INVALID_ARGUMENT, "100 % größer")
        with pytest.raises(NodeRejected, match="not found"):
            await channel.call("Nope", b"", deadline=soon())


async def test_a_deadline_ends_the_call_at_a_server_of_grpcio(answers: tuple[str, _Answers]) -> None:
    async with channel_to(answers[0]) as channel:
        with pytest.raises(NodeTimeout):
            await channel.call("Wait", b"", deadline=Deadline.after(0.2))
        assert await asyncio.to_thread(answers[1].ended.wait, 30)


async def test_a_server_of_grpc_aio_is_called_until_it_stops() -> None:
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((_AioAnswers(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with channel_to(address) as channel:
        for request in (b"", BIG):
            assert await channel.call("Search", request, deadline=soon()) == request
        await server.stop(None)
        with pytest.raises(NodeUnavailable):
            await channel.call("Search", b"", deadline=soon())


class _AioAnswers(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        async def echo(request: bytes, context: Any) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(echo)


# --- balancers ---


@pytest.mark.parametrize("balancer", [Nginx, HAProxy])
async def test_calls_pass_through_a_balancer_both_from_grpcio_and_from_our_channel(
    balancer: type[Nginx | HAProxy], tmp_path: Path
) -> None:
    if missing := balancer.missing():
        pytest.skip(missing)
    async with serving(H2Transport(), handler) as one, serving(H2Transport(), handler) as two:
        running = balancer(tmp_path, [one.address, two.address])
        await asyncio.to_thread(running.launch)
        try:
            address = f"127.0.0.1:{running.port}"
            async with channel_to(address) as channel, grpc.aio.insecure_channel(address, UNLIMITED) as theirs:
                await _pass_through(channel, theirs.unary_unary(SEARCH))
        finally:
            await asyncio.to_thread(running.close)


async def _pass_through(channel: Channel, stub: Any) -> None:
    for request in (b"", b"x", bytes(65_536), BIG):
        assert await channel.call("Search", request, deadline=soon()) == request
        assert await stub(request, timeout=30) == request
    requests = [b"%d" % number * 500 for number in range(60)]
    calls = (channel.call("Search", request, deadline=soon()) for request in requests)
    assert await asyncio.gather(*calls) == requests
    with pytest.raises(NodeRejected) as caught:
        await channel.call("Search", b"bad", deadline=soon())
    assert (caught.value.status, caught.value.details) == (RpcStatus.INVALID_ARGUMENT, "100 % größer")
    with pytest.raises(grpc.aio.AioRpcError) as theirs:
        await stub(b"bad", timeout=30)
    assert (theirs.value.code(), theirs.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "100 % größer")
    with pytest.raises(NodeTimeout):
        await channel.call("Search", b"slow", deadline=Deadline.after(0.2))


@pytest.mark.parametrize("balancer", [Nginx, HAProxy])
async def test_a_balancer_without_a_server_is_unavailable(balancer: type[Nginx | HAProxy], tmp_path: Path) -> None:
    if missing := balancer.missing():
        pytest.skip(missing)
    async with serving(H2Transport(), handler) as gone:
        address = gone.address
    running = balancer(tmp_path, [address])
    await asyncio.to_thread(running.launch)
    try:
        async with channel_to(f"127.0.0.1:{running.port}") as channel:
            with pytest.raises(NodeUnavailable):
                await channel.call("Search", b"", deadline=soon())
    finally:
        await asyncio.to_thread(running.close)
