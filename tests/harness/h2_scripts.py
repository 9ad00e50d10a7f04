"""A channel of our own HTTP/2 before a server that plays a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from harness.h2_peer import DATA, END_HEADERS, END_STREAM, HEADERS, Peer, frame, message, server_of, settings
from mishards.deadline import Deadline
from mishards.transport.h2.channel import H2Channel
from mishards.transport.h2.options import H2Options

Script = Callable[[Peer], Awaitable[None]]
HEAD = (":status", "200"), ("content-type", "application/grpc")


@asynccontextmanager
async def channel_to(script: Script, options: H2Options | None = None, first: bytes = b"") -> AsyncIterator[H2Channel]:
    """A channel to a server that plays ``script`` once SETTINGS are exchanged."""

    async def greeting(peer: Peer) -> None:
        peer.send(first or settings())
        await peer.greeted()
        await script(peer)

    async with server_of(greeting) as address:
        channel = H2Channel(address, options or H2Options())
        try:
            yield channel
        finally:
            await channel.close()


def answer(peer: Peer, stream: int, body: bytes, *more: tuple[str, str]) -> bytes:
    """A whole reply."""
    return (
        frame(HEADERS, END_HEADERS, stream, peer.block([*HEAD, *more]))
        + frame(DATA, 0, stream, message(body))
        + trailers(peer, stream, ("grpc-status", "0"))
    )


def trailers(peer: Peer, stream: int, *fields: tuple[str, str]) -> bytes:
    """The header block that ends a reply."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, peer.block(fields))


async def request_of(peer: Peer) -> tuple[int, dict[str, str], bytes]:
    """The next request: its stream, its fields and its message's bytes."""
    head = await peer.until(HEADERS)
    fields, body = peer.fields(head), b""
    while True:
        found = await peer.until(DATA, head.stream)
        body += found.payload
        if found.flags & END_STREAM:
            return head.stream, fields, body


async def echo(peer: Peer) -> None:
    """Answer every request with what it brought."""
    while True:
        stream, _, body = await request_of(peer)
        peer.send(answer(peer, stream, body[5:]))


async def call(channel: H2Channel, request: bytes = b"x", deadline: Deadline | None = None) -> bytes:
    """A call with far more time than it needs."""
    return await channel.call("Search", request, deadline=deadline or Deadline.after(30))
