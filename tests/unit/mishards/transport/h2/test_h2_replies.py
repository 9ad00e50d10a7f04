"""Replies of every kind, those of proxies and of broken servers included."""

from __future__ import annotations

import gzip
import struct

import pytest

from harness.h2_peer import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PUSH_PROMISE,
    RST_STREAM,
    Frame,
    Peer,
    frame,
    message,
)
from harness.h2_scripts import HEAD, answer, call, channel_to, echo, request_of, trailers
from mishards.deadline import Deadline
from mishards.errors import NodeError, NodeFault, NodeOverloaded, NodeRejected, NodeUnavailable
from mishards.testing.transport import soon
from mishards.transport.h2.channel import H2Channel
from mishards.transport.h2.grpc_fields import timeout_of
from mishards.transport.h2.options import H2Options


async def failure_of(channel: H2Channel, deadline: Deadline | None = None) -> NodeError:
    with pytest.raises(NodeError) as caught:
        await call(channel, deadline=deadline)
    return caught.value


async def test_a_request_says_what_grpc_asks_for() -> None:
    seen: list[dict[str, str]] = []

    async def script(peer: Peer) -> None:
        while True:
            stream, fields, body = await request_of(peer)
            seen.append(fields)
            peer.send(answer(peer, stream, body))

    async with channel_to(script) as channel:
        metadata = [("request_id", "7")]
        assert await channel.call("Search", b"abc", deadline=Deadline.never(), metadata=metadata) == message(b"abc")
        await call(channel, deadline=Deadline.after(300))
        with pytest.raises(ValueError, match="cannot be sent"):
            await channel.call("Search", b"", deadline=soon(), metadata=[("a", "two\nlines")])
    assert seen[0] == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/milvus.grpc.MilvusService/Search",
        ":authority": channel.address,
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,deflate,gzip",
        "request_id": "7",
    }
    said = timeout_of(seen[1]["grpc-timeout"].encode())
    assert said is not None
    assert 200 < said < 303


ANSWERS = {
    "a status": ([*HEAD, ("grpc-status", "9"), ("grpc-message", "a%20%C3%A4%zz")], NodeRejected, "a ä%zz"),
    "UNAVAILABLE": ([*HEAD, ("grpc-status", "14"), ("grpc-message", "gone")], NodeUnavailable, "gone"),
    "a status that is none": ([*HEAD, ("grpc-status", "77"), ("grpc-message", "odd")], NodeRejected, "odd"),
    "a status that is no number": ([*HEAD, ("grpc-status", "x")], NodeFault, "malformed"),
    "OK without a message": ([*HEAD, ("grpc-status", "0")], NodeFault, "without a whole message"),
    "no status": ([*HEAD], NodeFault, "without a gRPC status"),
    "HTTP 404": ([(":status", "404")], NodeRejected, "HTTP status 404"),
    "HTTP 429": ([(":status", "429")], NodeUnavailable, "HTTP status 429"),
    "HTTP 503": ([(":status", "503"), ("content-type", "text/html")], NodeUnavailable, "HTTP status 503"),
    "HTTP 500": ([(":status", "500")], NodeFault, "HTTP status 500"),
    "HTTP 204 with a status, as balancers say it": ([(":status", "204"), ("grpc-status", "14")], NodeUnavailable, ""),
    "fields that are malformed": ([(":status", "200"), ("Bad", "1")], NodeFault, "malformed"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_without_a_message_is_an_error_of_the_seam(name: str) -> None:
    fields, expected, text = ANSWERS[name]

    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        peer.send(trailers(peer, stream, *fields))
        await echo(peer)

    async with channel_to(script) as channel:
        error = await failure_of(channel)
        assert type(error) is expected
        assert text in str(error)
        assert error.sent
        assert await call(channel) == b"x"


async def test_a_page_of_a_proxy_is_its_http_status() -> None:
    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        peer.send(frame(HEADERS, END_HEADERS, stream, peer.block([(":status", "502")])))
        peer.send(frame(DATA, END_STREAM, stream, b"<html>Bad Gateway</html>"))
        await echo(peer)

    async with channel_to(script) as channel:
        error = await failure_of(channel)
        assert isinstance(error, NodeUnavailable)
        assert await call(channel) == b"x"


@pytest.mark.parametrize(
    ("code", "expected", "sent"),
    [(7, NodeUnavailable, False), (8, NodeFault, True), (11, NodeOverloaded, True), (2, NodeFault, True),
     (12, NodeRejected, True), (99, NodeFault, True)],
)  # fmt: skip
async def test_a_reset_is_an_error_of_the_seam(code: int, expected: type[NodeError], sent: bool) -> None:
    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        peer.send(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))
        await echo(peer)

    async with channel_to(script) as channel:
        error = await failure_of(channel)
        assert (type(error), error.sent) == (expected, sent)
        assert await call(channel) == b"x"


BROKEN = {
    "two heads": lambda peer, s: frame(HEADERS, END_HEADERS, s, peer.block(HEAD)) * 2,
    "a malformed head": lambda peer, s: frame(HEADERS, END_HEADERS, s, peer.block([(":status", "20x")])),
    "two messages": lambda peer, s: (
        frame(HEADERS, END_HEADERS, s, peer.block(HEAD)) + frame(DATA, 0, s, message(b"1") + message(b"2"))
    ),
    "more than its window": lambda peer, s: (
        frame(HEADERS, END_HEADERS, s, peer.block(HEAD)) + frame(DATA, 0, s, bytes(3000))
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_reply_that_breaks_the_rules_is_a_fault_of_the_node_and_is_reset(name: str) -> None:
    resets: list[Frame] = []

    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        peer.send(BROKEN[name](peer, stream))
        resets.append(await peer.until(RST_STREAM, stream))
        peer.send(answer(peer, stream, b"late"))
        await echo(peer)

    async with channel_to(script, H2Options(reply_window=2000)) as channel:
        assert type(await failure_of(channel)) is NodeFault
        assert await call(channel) == b"x"
    assert len(resets) == 1


@pytest.mark.parametrize(
    "frames", [frame(PUSH_PROMISE, 4, 1, bytes(4)), frame(HEADERS, 4, 99, b"\x88"), frame(HEADERS, 4, 2)]
)
async def test_a_server_that_breaks_the_protocol_loses_the_connection(frames: bytes) -> None:
    async def script(peer: Peer) -> None:
        await request_of(peer)
        peer.send(frames)
        await peer.rest()

    async with channel_to(script) as channel:
        error = await failure_of(channel)
        assert (type(error), error.sent) == (NodeUnavailable, True)


async def test_information_before_the_reply_is_passed_over() -> None:
    async def script(peer: Peer) -> None:
        stream, _, body = await request_of(peer)
        peer.send(frame(HEADERS, END_HEADERS, stream, peer.block([(":status", "103")])), answer(peer, stream, body[5:]))
        await peer.rest()

    async with channel_to(script) as channel:
        assert await call(channel) == b"x"


@pytest.mark.parametrize("size", [10, 2_000_000])
async def test_a_compressed_reply_is_read(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)

    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        packed = message(gzip.compress(body, 0), compressed=1)
        peer.send(
            frame(HEADERS, END_HEADERS, stream, peer.block([*HEAD, ("grpc-encoding", "gzip")])),
            *(frame(DATA, 0, stream, packed[start : start + 16_000]) for start in range(0, len(packed), 16_000)),
            trailers(peer, stream, ("grpc-status", "0")),
        )
        await peer.rest()

    options = H2Options(reply_window=4 << 20)
    async with channel_to(script, options) as channel:
        assert await call(channel) == body


async def test_a_compressed_reply_that_is_broken_is_a_fault_of_the_node() -> None:
    async def script(peer: Peer) -> None:
        stream, _, _ = await request_of(peer)
        peer.send(
            frame(HEADERS, END_HEADERS, stream, peer.block([*HEAD, ("grpc-encoding", "gzip")])),
            frame(DATA, 0, stream, message(b"no gzip", compressed=1)),
            trailers(peer, stream, ("grpc-status", "0")),
        )
        await peer.rest()

    async with channel_to(script) as channel:
        assert type(await failure_of(channel)) is NodeFault
