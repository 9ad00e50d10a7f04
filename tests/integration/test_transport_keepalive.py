"""A client that keeps its connection alive by pings is served through a call that lasts."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from mishards.transport.api import SERVICE, Call, ServerOptions
from mishards.transport.choice import TRANSPORTS, transport_of

CALL_S = 45
"""With its own defaults a grpc server counts four pings of 10 s as abuse and ends the connection before this."""


async def handler(call: Call) -> bytes:
    await asyncio.sleep(CALL_S)
    return b"built"


async def reply_by(transport: str) -> bytes:
    server = transport_of(transport).server(handler, ServerOptions(address="127.0.0.1:0"))
    address = await server.start()
    options = [("grpc.keepalive_time_ms", 10_000), ("grpc.http2.max_pings_without_data", 0)]
    try:
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stub: Any = channel.unary_unary(f"/{SERVICE}/CreateIndex")
            reply: bytes = await stub(b"", timeout=CALL_S + 30)
            return reply
    finally:
        await server.stop(0)


async def test_a_client_that_pings_through_a_long_call_is_not_cut_off() -> None:
    assert await asyncio.gather(*map(reply_by, TRANSPORTS)) == [b"built"] * len(TRANSPORTS)
