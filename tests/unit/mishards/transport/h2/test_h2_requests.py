"""Requests in every form that HTTP/2 allows, and those that are no request."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness.h2_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    RST_STREAM,
    WITH_PRIORITY,
    Peer,
    client_of,
    frame,
    message,
)
from mishards.testing.transport import Held, echo, within
from mishards.transport.api import Call, Handler, ServerOptions
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.transport import H2Transport


@asynccontextmanager
async def client(handler: Handler = echo, h2: H2Options | None = None, **options: int) -> AsyncIterator[Peer]:
    server = H2Transport(h2).server(handler, ServerOptions("127.0.0.1:0", **options))
    address = await server.start()
    try:
        async with client_of(address) as peer:
            yield peer
    finally:
        await server.stop(0)


async def status_of(peer: Peer, stream: int = 1) -> tuple[int, str]:
    _, fields = await peer.reply(stream)
    assert (fields[":status"], fields["content-type"]) == ("200", "application/grpc")
    return int(fields["grpc-status"]), fields.get("grpc-message", "")


async def test_a_reply_is_headers_one_message_and_trailers() -> None:
    async with client() as peer:
        peer.send(peer.request(1, b"abc"))
        body, fields = await peer.reply(1)
    assert body == message(b"abc")
    assert fields == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,deflate,gzip",
        "grpc-status": "0",
    }


async def test_a_request_that_comes_byte_by_byte_is_served() -> None:
    async with client() as peer:
        for byte in peer.request(1, b"abc") + peer.request(3, b"def"):
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.reply(1))[0] == message(b"abc")
        assert (await peer.reply(3))[0] == message(b"def")


async def test_continuation_padding_and_priority_change_nothing() -> None:
    async with client() as peer:
        block = peer.request_block(("x-long", "v" * 3000))
        pieces = [block[:1], block[1:2], block[2:2000], block[2000:]]
        first = b"\x03" + b"\x80\0\0\0\x10" + pieces[0] + b"pad"
        peer.send(
            frame(HEADERS, PADDED | WITH_PRIORITY, 1, first),
            frame(CONTINUATION, 0, 1, pieces[1]),
            frame(CONTINUATION, 0, 1, pieces[2]),
            frame(CONTINUATION, END_HEADERS, 1, pieces[3]),
            frame(DATA, PADDED, 1, b"\x05" + message(b"abc")[:6] + bytes(5)),
            frame(DATA, 0, 1),
            frame(DATA, PADDED | END_STREAM, 1, b"\x00" + message(b"abc")[6:]),
        )
        assert (await peer.reply(1))[0] == message(b"abc")


async def test_trailers_of_the_client_end_a_request() -> None:
    async with client() as peer:
        peer.send(
            frame(HEADERS, END_HEADERS, 1, peer.request_block()),
            frame(DATA, 0, 1, message(b"abc")),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block([("x-checksum", "1")])),
        )
        assert (await peer.reply(1))[0] == message(b"abc")


async def test_a_call_has_the_text_metadata_and_nothing_of_the_protocol() -> None:
    seen: list[Call] = []

    async def handler(call: Call) -> bytes:
        seen.append(call)
        return b""

    more = [("x-a", "1"), ("trace-bin", "AAA="), ("x-a", "2"), ("grpc-timeout", "200S"), ("user-agent", "raw")]
    async with client(handler) as peer:
        for stream in (1, 3):
            peer.send(peer.request(stream, b"", *more))
            await peer.reply(stream)
    assert [list(call.metadata) for call in seen] == [[("x-a", "1"), ("x-a", "2"), ("user-agent", "raw")]] * 2
    assert all(100 < call.deadline.remaining() <= 200 for call in seen)


async def test_reply_metadata_comes_before_the_message_and_with_an_error() -> None:
    async def handler(call: Call) -> bytes:
        call.reply_metadata += [("request_id", "a7"), *([("Not Allowed", "x")] if call.request == b"bad" else [])]
        if call.request == b"raise":
            raise ValueError("bug")
        return b"ok"

    async with client(handler) as peer:
        peer.send(peer.request(1, b""), peer.request(3, b"raise"), peer.request(5, b"bad"))
        replies = {stream: await peer.reply(stream) for stream in (1, 3, 5)}
    assert [replies[stream][1].get("request_id") for stream in (1, 3)] == ["a7", "a7"]
    assert replies[3][1]["grpc-status"] == "2"
    assert replies[5][0] == message(b"ok")


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"method": "GET"}, "405"), ({"content_type": "text/html"}, "415"), ({"content_type": None}, "415")],
)
async def test_what_is_no_grpc_gets_an_http_status(changed: dict[str, str | None], status: str) -> None:
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.request_block(**changed)))
        assert (await peer.reply(1))[1] == {":status": status}


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;v=1"])
async def test_content_types_of_grpc_are_served(content_type: str) -> None:
    async with client() as peer:
        peer.send(
            frame(HEADERS, END_HEADERS, 1, peer.request_block(content_type=content_type)),
            frame(DATA, END_STREAM, 1, message(b"")),
        )
        assert await status_of(peer) == (0, "")


async def test_another_service_is_unimplemented_before_its_body_came() -> None:
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block(path="/other.Service/Search")))
        status, text = await status_of(peer)
        assert status == 12
        assert "/other.Service/Search" in text
        assert (await peer.until(RST_STREAM, 1)).number == 0
        peer.send(frame(DATA, END_STREAM, 1, message(b"too late")), peer.request(3, b"x"))
        assert (await peer.reply(3))[0] == message(b"x")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "ended before its message"),
        (b"\0\0\0", "ended before its message"),
        (message(b"abc")[:-1], "ended before its message"),
        (message(b"abc") + b"\0", "more than one message"),
        (message(b"abc") + message(b"def"), "more than one message"),
        (b"\x02\0\0\0\0", "compressed flag is 2"),
        (message(b"abc", compressed=1), "without grpc-encoding"),
    ],
)
async def test_what_is_not_one_message_is_an_internal_error(data: bytes, text: str) -> None:
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frame(DATA, END_STREAM, 1, data))
        status, said = await status_of(peer)
        assert status == 13
        assert text in said
        peer.send(peer.request(3, b"x"))
        assert (await peer.reply(3))[0] == message(b"x")


@pytest.mark.parametrize(
    "more",
    [
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("te", "gzip")],
        [("X-Capital", "1")],
        [("x-line", "a\nb")],
        [("x y", "1")],
        [(":late", "pseudo")],
        [(":path", "/twice")],
        [("content-length", "17")],
        [("content-length", "x")],
    ],
)
async def test_a_malformed_request_is_reset_and_the_connection_lives(more: list[tuple[str, str]]) -> None:
    async with client() as peer:
        peer.send(peer.request(1, b"abc", *more))
        assert (await peer.until(RST_STREAM, 1)).number == 1
        peer.send(peer.request(3, b"x", ("content-length", "6")))
        assert (await peer.reply(3))[0] == message(b"x")


async def test_a_head_without_its_pseudo_fields_is_malformed() -> None:
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block([("te", "trailers")])))
        assert (await peer.until(RST_STREAM, 1)).number == 1


async def test_trailers_that_end_nothing_are_malformed() -> None:
    async with client() as peer:
        peer.send(
            frame(HEADERS, END_HEADERS, 1, peer.request_block()),
            frame(HEADERS, END_HEADERS, 1, peer.block([("x-checksum", "1")])),
        )
        assert (await peer.until(RST_STREAM, 1)).number == 1


# --- time and cancellation ---


async def test_the_deadline_of_the_client_ends_the_call() -> None:
    held = Held()
    async with client(held) as peer:
        peer.send(peer.request(1, b"", ("grpc-timeout", "50m")))
        assert (await status_of(peer))[0] == 4
    assert held.under_way == 0


@pytest.mark.parametrize("timeout", ["", "1", "S", "1s", "123456789S", "-1S", "1.5S"])
async def test_a_malformed_time_out_is_an_internal_error(timeout: str) -> None:
    async with client() as peer:
        peer.send(peer.request(1, b"", ("grpc-timeout", timeout)))
        assert (await status_of(peer))[0] == 13


async def test_a_deadline_ends_a_request_that_never_ends() -> None:
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block(("grpc-timeout", "50m"))))
        assert (await status_of(peer))[0] == 4
        assert (await peer.until(RST_STREAM, 1)).number == 0


async def test_a_reset_cancels_the_handler() -> None:
    held = Held()
    async with client(held) as peer:
        peer.send(peer.request(1, b""))
        await within(held.begun)
        peer.send(frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))
        await within(held.cancelled)
        held.released.set()
        peer.send(peer.request(3, b""))
        assert (await peer.reply(3))[0] == message(b"released")


async def test_a_request_and_its_reset_in_one_read_run_nothing_and_cost_no_place() -> None:
    held = Held()
    async with client(held, max_concurrent_calls=1) as peer:
        for stream in range(1, 41, 2):
            peer.send(peer.request(stream, b"") + frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
        held.released.set()
        await peer.synchronised()
        peer.send(peer.request(41, b""))
        assert (await peer.reply(41))[0] == message(b"released")


async def test_a_client_that_vanishes_cancels_its_calls() -> None:
    held = Held()
    async with client(held) as peer:
        peer.send(peer.request(1, b""))
        await within(held.begun)
        peer.writer.transport.abort()
        await within(held.cancelled)


async def test_a_handler_that_is_cancelled_from_elsewhere_ends_as_cancelled() -> None:
    async def handler(call: Call) -> bytes:
        raise asyncio.CancelledError

    async with client(handler) as peer:
        peer.send(peer.request(1, b""))
        assert (await status_of(peer))[0] == 1


# --- compression ---


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_a_compressed_request_is_served(encoding: str, compress: object, size: int) -> None:
    assert callable(compress)

    async def handler(call: Call) -> bytes:
        assert call.request == bytes(range(250)) * (size // 250)
        return b"%d" % len(call.request)

    body = compress(bytes(range(250)) * (size // 250))
    async with client(handler) as peer:
        peer.send(
            frame(HEADERS, END_HEADERS, 1, peer.request_block(("grpc-encoding", encoding))),
            frame(DATA, END_STREAM, 1, message(body, compressed=1)),
        )
        assert (await peer.reply(1))[0] == message(b"%d" % (size // 250 * 250))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(bytes(2000), mtime=0), 8),
        ("gzip", gzip.compress(bytes(1 << 20), mtime=0) * 40, 8),
        ("gzip", b"no gzip", 13),
        ("gzip", gzip.compress(b"abc", mtime=0)[:-3], 13),
        ("snappy", b"x", 12),
    ],
)
async def test_what_cannot_be_decompressed_within_the_limit_is_refused(encoding: str, body: bytes, status: int) -> None:
    async with client(max_message_bytes=100_000) as peer:
        peer.send(
            frame(HEADERS, END_HEADERS, 1, peer.request_block(("grpc-encoding", encoding))),
            frame(DATA, END_STREAM, 1, message(body, compressed=1)),
        )
        if status == 8 and len(body) < 1000:
            assert (await peer.reply(1))[0] == message(bytes(2000))
        else:
            assert (await status_of(peer))[0] == status
