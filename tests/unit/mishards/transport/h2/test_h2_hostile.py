"""Clients that break the protocol, or keep to it in order to hurt: each costs its own connection at most."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harness.h2_peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Peer,
    client_of,
    frame,
    message,
    settings,
    window_update,
)
from mishards.testing.transport import Held, echo, serving, soon, within
from mishards.transport.api import Call, Handler, ServerOptions
from mishards.transport.h2 import control
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.transport import H2Transport

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11


@asynccontextmanager
async def address_of(handler: Handler = echo, h2: H2Options | None = None) -> AsyncIterator[str]:
    """A server's address; in the end the server still serves others."""
    transport = H2Transport(h2)
    async with serving(transport, handler, ServerOptions("127.0.0.1:0")) as channel:
        yield channel.address
        assert await channel.call("Search", b"still here", deadline=soon())


@asynccontextmanager
async def client(handler: Handler = echo, h2: H2Options | None = None) -> AsyncIterator[Peer]:
    async with address_of(handler, h2) as address, client_of(address) as peer:
        yield peer


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


# An open stream 1 stands before each of these.
FAULTS = {
    "DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "padded DATA on stream 0": (frame(DATA, PADDED, 0, b"\0x"), PROTOCOL_ERROR),
    "the beginning of DATA on stream 0": (frame(DATA, 0, 0, b"xxx")[:-1], PROTOCOL_ERROR),
    "DATA on an idle stream": (frame(DATA, 0, 9, b"x"), PROTOCOL_ERROR),
    "DATA on a stream of the server": (frame(DATA, 0, 2, b"x"), PROTOCOL_ERROR),
    "DATA with more padding than frame": (frame(DATA, PADDED, 1, b"\x09abc"), PROTOCOL_ERROR),
    "DATA with padding and no room for its length": (frame(DATA, PADDED, 1), PROTOCOL_ERROR),
    "HEADERS on stream 0": (frame(HEADERS, END_HEADERS, 0, b"\x82"), PROTOCOL_ERROR),
    "HEADERS on a stream of the server": (frame(HEADERS, END_HEADERS, 4, b"\x82"), PROTOCOL_ERROR),
    "HEADERS with more padding than frame": (frame(HEADERS, END_HEADERS | PADDED, 3, b"\x02\x82"), PROTOCOL_ERROR),
    "HEADERS too short for a priority": (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 3, b"\0\0"), FRAME_SIZE_ERROR),
    "CONTINUATION of nothing": (frame(CONTINUATION, END_HEADERS, 3, b"\x82"), PROTOCOL_ERROR),
    "a header block interrupted": (frame(HEADERS, 0, 3, b"\x82") + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "a header block interrupted by DATA": (frame(HEADERS, 0, 3, b"\x82") + frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    "CONTINUATION on another stream": (frame(HEADERS, 0, 3, b"\x82") + frame(CONTINUATION, 4, 5), PROTOCOL_ERROR),
    "HPACK that is none": (frame(HEADERS, END_HEADERS, 3, b"\xff\xff\xff\xff"), COMPRESSION_ERROR),
    "an HPACK index that is none": (frame(HEADERS, END_HEADERS, 3, b"\xf0"), COMPRESSION_ERROR),
    "an HPACK integer without end": (frame(HEADERS, END_HEADERS, 3, b"\x7f" + b"\xff" * 900), COMPRESSION_ERROR),
    "a table larger than allowed": (frame(HEADERS, END_HEADERS, 3, b"\x3f\xff\xff\x03"), COMPRESSION_ERROR),
    "a huge header list in a small block": (
        frame(HEADERS, END_HEADERS, 3, b"\x40\x01a\x7f\xf1\x1e" + b"v" * 4080 + b"\xbe" * 20),
        COMPRESSION_ERROR,
    ),
    "a header block without end": (
        frame(HEADERS, 0, 3, b"\0" * 16_000) + frame(CONTINUATION, 0, 3, b"\0" * 16_000) * 3,
        ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION without end": (frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) * 100, ENHANCE_YOUR_CALM),
    "a frame that is too large": (frame(DATA, 0, 1, bytes((256 << 10) + 1))[:100], FRAME_SIZE_ERROR),
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    "RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 9, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    "an answer to SETTINGS with settings": (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "ENABLE_PUSH of 2": (settings(enable_push=2), PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE of 2 GiB": (settings(initial_window_size=1 << 31), FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE of 16383": (settings(max_frame_size=16_383), PROTOCOL_ERROR),
    "MAX_FRAME_SIZE of 16 MiB": (settings(max_frame_size=1 << 24), PROTOCOL_ERROR),
    "a window made too large by SETTINGS": (
        window_update(1, (1 << 31) - 1 - 65_535) + settings(initial_window_size=65_536),
        FLOW_CONTROL_ERROR,
    ),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + b"\x82"), PROTOCOL_ERROR),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 0": (window_update(0, 0), PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (window_update(9, 1), PROTOCOL_ERROR),
    "a connection window over 2 GiB": (window_update(0, (1 << 31) - 1), FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_connection_ends_it_with_its_code(name: str) -> None:
    frames, code = FAULTS[name]
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frames)
        assert (await peer.until(GOAWAY)).goaway[1] == code
        assert await peer.next() is None


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (window_update(1, 0), PROTOCOL_ERROR),
        (window_update(1, (1 << 31) - 1), FLOW_CONTROL_ERROR),
        (frame(DATA, 0, 1, bytes(40_000)), FLOW_CONTROL_ERROR),
    ],
)
async def test_a_fault_of_a_stream_ends_the_stream_alone(frames: bytes, code: int) -> None:
    async with client(h2=H2Options(request_window=32_768)) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frames)
        assert (await peer.until(RST_STREAM, 1)).number == code
        peer.send(frame(DATA, END_STREAM, 1, b"on its way"), frame(RST_STREAM, 0, 1, bytes(4)), window_update(1, 1))
        peer.send(peer.request(3, b"x"))
        assert (await peer.reply(3))[0] == message(b"x")


async def test_data_after_the_end_of_a_request_resets_it_and_cancels_its_handler() -> None:
    held = Held()
    async with client(held) as peer:
        peer.send(peer.request(1, b"x"))
        await within(held.begun)
        peer.send(frame(DATA, 0, 1, b"more"))
        assert (await peer.until(RST_STREAM, 1)).number == STREAM_CLOSED
        await within(held.cancelled)
        held.released.set()


async def test_data_and_headers_on_a_closed_stream_are_answered_or_ignored() -> None:
    async with client() as peer:
        peer.send(peer.request(1, b"x"))
        await peer.reply(1)
        peer.send(frame(DATA, END_STREAM, 1, b"late"))
        assert (await peer.until(RST_STREAM, 1)).number == STREAM_CLOSED
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block([("late", "1")])), window_update(1, 5))
        peer.send(peer.request(3, b"x"))
        assert (await peer.reply(3))[0] == message(b"x")


async def test_more_data_than_the_connections_window_is_a_fault() -> None:
    options = H2Options(request_window=(1 << 31) - 1, connection_window=100_000)
    async with client(h2=options) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()))
        peer.send(frame(DATA, 0, 1, message(bytes(1 << 20))[:120_000]))
        assert (await peer.until(GOAWAY)).goaway[1] == FLOW_CONTROL_ERROR


async def test_frames_and_settings_that_are_not_known_are_ignored() -> None:
    async with client() as peer:
        peer.send(
            frame(0x77, 0xFF, 1, b"?"),
            frame(SETTINGS, payload=struct.pack(">HI", 0x999, 7)),
            frame(PRIORITY, 0, 1, bytes(5)),
            frame(PRIORITY, 0, 7, bytes(5)),
            frame(GOAWAY, 0, 0, bytes(8)),
            frame(PING, ACK, 0, bytes(8)),
            frame(SETTINGS, ACK),
            peer.request(1, b"x"),
        )
        assert (await peer.reply(1))[0] == message(b"x")


async def test_a_ping_is_answered_with_what_it_brought() -> None:
    async with client() as peer:
        peer.send(frame(PING, 0, 0, b"12345678"))
        pong = await peer.until(PING)
    assert (pong.flags, pong.payload) == (ACK, b"12345678")


# --- before HTTP/2 has begun ---


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\0" * 24])
async def test_garbage_instead_of_the_preface_ends_the_connection(said: bytes) -> None:
    async with address_of() as address, client_of(address, greet=False) as peer:
        peer.send(said)
        assert (await peer.until(GOAWAY)).goaway == (0, PROTOCOL_ERROR)
        assert await peer.next() is None


async def test_a_request_of_http_1_is_told_so() -> None:
    async with address_of() as address, client_of(address, greet=False) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await peer.text()).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("said", [b"", b"PRI *", PREFACE])
async def test_a_client_that_does_not_begin_is_cut_off(said: bytes) -> None:
    options = H2Options(preface_timeout_s=0.1)
    async with address_of(h2=options) as address, client_of(address, greet=False) as peer:
        peer.send(said)
        assert all(found.kind != GOAWAY for found in await peer.rest())


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), frame(HEADERS, 5, 1, b"\x82"), frame(DATA, 0, 1, b"x")])
async def test_anything_before_settings_is_a_fault(first: bytes) -> None:
    async with address_of() as address, client_of(address, greet=False) as peer:
        peer.send(PREFACE, first)
        assert (await peer.until(GOAWAY)).goaway[1] == PROTOCOL_ERROR


async def test_an_answer_to_settings_before_any_is_a_fault() -> None:
    async with address_of() as address, client_of(address, greet=False) as peer:
        peer.send(PREFACE, frame(SETTINGS, ACK))
        assert (await peer.until(GOAWAY)).goaway[1] == PROTOCOL_ERROR


# --- floods ---

FLOODS = {
    "pings": lambda peer, number: frame(PING, 0, 0, bytes(8)),
    "settings": lambda peer, number: settings(),
    "priorities": lambda peer, number: frame(PRIORITY, 0, 1, bytes(5)),
    "empty DATA": lambda peer, number: frame(DATA, 0, 1),
    "empty padded DATA": lambda peer, number: frame(DATA, PADDED, 1, b"\0"),
    "unknown frames": lambda peer, number: frame(0x77),
    "DATA on a closed stream": lambda peer, number: frame(DATA, 0, 3, b"x"),
    "requests that are reset": lambda peer, number: (
        frame(HEADERS, END_HEADERS, 2 * number + 5, peer.request_block())
        + frame(RST_STREAM, 0, 2 * number + 5, bytes(4))
    ),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_frames_of_no_use_ends_the_connection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_NUISANCES", 100.0)
    monkeypatch.setattr(control, "_NUISANCES_PER_S", 0.0)
    async with client() as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frame(HEADERS, 5, 3, peer.request_block()))
        peer.send(*(FLOODS[name](peer, number) for number in range(90)))
        await peer.synchronised()
        peer.send(*(FLOODS[name](peer, number) for number in range(90, 120)))
        assert (await peer.until(GOAWAY)).goaway[1] == ENHANCE_YOUR_CALM


async def test_calls_that_are_served_earn_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_NUISANCES", 3.0)
    monkeypatch.setattr(control, "_NUISANCES_PER_S", 0.0)
    async with client() as peer:
        for stream in range(1, 41, 2):
            peer.send(peer.request(stream, b"x"), frame(PING, 0, 0, bytes(8)))
            await peer.reply(stream)


async def test_more_streams_than_allowed_are_refused() -> None:
    held = Held()
    async with client(held, H2Options(max_streams=2)) as peer:
        for stream in (1, 3, 5):
            peer.send(peer.request(stream, b""))
        assert (await peer.until(RST_STREAM)).stream == 5
        held.released.set()
        assert (await peer.reply(3))[0] == message(b"released")


async def test_a_handler_that_does_not_end_keeps_its_place_after_a_reset() -> None:
    stubborn, begun = asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> bytes:
        begun.set()
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue
        return b"late"

    async with client(handler, H2Options(max_streams=1)) as peer:
        peer.send(peer.request(1, b""))
        await within(begun)
        peer.send(frame(RST_STREAM, 0, 1, bytes(4)), peer.request(3, b""))
        refused = await peer.until(RST_STREAM)
        assert (refused.stream, refused.number) == (3, REFUSED_STREAM)
        stubborn.set()


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    async def handler(call: Call) -> bytes:
        return bytes(64 << 20) if call.request == b"big" else b"ok"

    cut = asyncio.Event()
    options = H2Options(stall_timeout_s=0.2)
    async with address_of(handler, options) as address, client_of(address, greet=False) as peer:
        peer.writer.transport.pause_reading()
        peer.send(PREFACE, settings(initial_window_size=(1 << 31) - 1), window_update(0, (1 << 31) - 1 - 65_535))
        peer.send(peer.request(1, b"big"))

        async def write_until_cut() -> None:
            while not peer.writer.is_closing():
                peer.send(frame(PING, ACK, 0, bytes(8)))
                await asyncio.sleep(0.02)
            cut.set()

        task = asyncio.create_task(write_until_cut())
        await within(cut)
        await task
