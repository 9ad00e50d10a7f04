"""The HTTP server on a real socket: where it listens, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.ports import free_port
from harness.waiting import eventually_async
from mishards.errors import StartError
from mishards.rest.application import api_routes, application
from mishards.rest.server import HttpServer
from mishards.transport.api import Call
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.replies import ok_status


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[tuple[HttpServer, httpx.AsyncClient]]:
    server = HttpServer(app, "127.0.0.1:0")
    address = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client:
            yield server, client
    finally:
        await server.stop(0)


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        try:
            await self.leave.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await hello(scope, receive, send)


async def test_it_says_where_it_listens_and_answers_there() -> None:
    async with serving(hello) as (_, client):
        assert (await client.get("/")).text == "hello"


@pytest.mark.parametrize("address", ["127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1", "203.0.113.1:80"])
async def test_an_address_that_is_none_or_not_ours_is_a_start_error(address: str) -> None:
    with pytest.raises(StartError, match=f"^cannot listen on {address} for HTTP: "):
        await HttpServer(hello, address).start()


async def test_a_port_in_use_is_a_start_error() -> None:
    address = f"127.0.0.1:{free_port()}"
    first = HttpServer(hello, address)
    assert await first.start() == address
    with pytest.raises(StartError, match=f"^cannot listen on {address} for HTTP: address already in use$"):
        await HttpServer(hello, address).start()
    await first.stop(0)
    again = HttpServer(hello, address)
    assert await again.start() == address
    await again.stop(0)


async def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_stop_lets_requests_under_way_end_and_takes_no_new_ones() -> None:
    slow = Slow()
    async with serving(slow) as (server, client):
        answer = asyncio.create_task(client.get("/"))
        await asyncio.wait_for(slow.entered.wait(), 5)
        stopping = asyncio.create_task(server.stop(30))
        await eventually_async(lambda: nobody_listens(client.base_url.port), 5, "nobody listens any more")
        assert not answer.done()
        slow.leave.set()
        assert (await answer).text == "hello"
        await asyncio.wait_for(stopping, 5)


async def test_a_stop_cancels_what_does_not_end_in_time(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    async with serving(slow) as (server, client):
        answer = asyncio.create_task(client.get("/"))
        await asyncio.wait_for(slow.entered.wait(), 5)
        await asyncio.wait_for(server.stop(0), 5)
        response = await asyncio.gather(answer, return_exceptions=True)
    assert slow.cancelled
    assert isinstance(response[0], httpx.HTTPError) or response[0].status_code == 500


async def test_a_server_that_never_started_stops_at_once() -> None:
    await HttpServer(hello, "127.0.0.1:0").stop(30)


async def test_it_leaves_signals_and_logging_to_the_program(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    async with serving(hello) as (_, client):
        await client.get("/")
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        assert logging.getLogger("uvicorn").handlers == []
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_a_client_that_sends_too_much_reads_why() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> bytes:
        calls.append(call)
        return ok_status().SerializeToString()

    async with serving(application(api_routes(handler, max_body_bytes=1 << 20))) as (_, client):
        response = await client.put("/system/task", content=b" " * (8 << 20))
    assert (response.status_code, response.json()["code"]) == (413, 35)
    assert calls == []


async def test_a_thousand_ids_fit_into_a_query() -> None:
    async def handler(call: Call) -> bytes:
        count = len(pb.VectorsIdentity.FromString(call.request).id_array)
        return pb.VectorsData(status=ok_status(), vectors_data=[pb.RowRecord()] * count).SerializeToString()

    ids = [str(2**63 - 1 - number) for number in range(1000)]
    async with serving(application(api_routes(handler))) as (_, client):
        found = (await client.get(f"/collections/c/vectors?ids={','.join(ids)}")).json()
    assert [vector["id"] for vector in found["vectors"]] == ids


async def test_a_call_ends_when_the_connection_breaks() -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def handler(_call: Call) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(application(api_routes(handler))) as (_, client):
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"GET /system/status HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(entered.wait(), 5)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(ended.wait(), 5)
