"""Flow control both ways, the peer's settings, and the end of a server's connections."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.h2_peer import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    Peer,
    client_of,
    frame,
    message,
    settings,
    window_update,
)
from mishards.testing.transport import Held, echo, serving, within
from mishards.transport.api import Call, Handler, ServerOptions
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.transport import H2Transport

ANY = ServerOptions("127.0.0.1:0")
BODY = bytes(range(256)) * 1200  # 300 KiB: more than any first window


@asynccontextmanager
async def client(handler: Handler = echo, h2: H2Options | None = None, first: bytes = b"") -> AsyncIterator[Peer]:
    async with serving(H2Transport(h2), handler, ANY) as channel, client_of(channel.address, greet=False) as peer:
        peer.send(PREFACE, first or settings())
        await peer.greeted()
        yield peer


async def big(call: Call) -> bytes:
    return BODY


async def data_of(peer: Peer, stream: int, size: int) -> bytes:
    """``size`` bytes of DATA of a stream, and not one more frame of it than that takes."""
    found = b""
    while len(found) < size:
        found += (await peer.until(DATA, stream)).payload
    assert len(found) == size
    return found


async def test_a_reply_goes_on_as_far_as_stream_and_connection_allow() -> None:
    async with client(big) as peer:
        peer.send(peer.request(1, b""))
        got = await data_of(peer, 1, 65_535)
        peer.send(window_update(1, 100_000))
        await peer.synchronised()
        peer.send(window_update(0, 70_000))
        got += await data_of(peer, 1, 70_000)
        peer.send(window_update(0, 1 << 20))
        got += await data_of(peer, 1, 30_000)
        peer.send(window_update(1, 1 << 20))
        got += (await peer.reply(1))[0]
    assert got == message(BODY)


async def test_a_reply_that_waits_does_not_hold_up_others() -> None:
    async def handler(call: Call) -> bytes:
        return BODY if call.request == b"big" else b"small"

    async with client(handler, first=settings(initial_window_size=100)) as peer:
        peer.send(peer.request(1, b"big"))
        await data_of(peer, 1, 100)
        peer.send(peer.request(3, b""))
        assert (await peer.reply(3))[0] == message(b"small")


async def test_replies_that_share_the_connection_take_turns() -> None:
    first = settings(initial_window_size=1 << 24) + window_update(0, 400_000)
    async with client(big, first=first) as peer:
        peer.send(peer.request(1, b""), peer.request(3, b""))
        sizes = {1: 0, 3: 0}
        while sum(sizes.values()) < 465_535:
            found = await peer.until(DATA)
            sizes[found.stream] += len(found.payload)
        assert min(sizes.values()) > 100_000


async def test_settings_change_the_windows_of_streams_under_way_below_zero_too() -> None:
    async with client(big, first=settings(initial_window_size=1000)) as peer:
        peer.send(window_update(0, 1 << 20), peer.request(1, b""))
        await data_of(peer, 1, 1000)
        peer.send(settings(initial_window_size=100), window_update(1, 900))
        await peer.synchronised()  # the window is 0 again
        peer.send(window_update(1, 7))
        await data_of(peer, 1, 7)
        peer.send(settings(initial_window_size=10_100))
        await data_of(peer, 1, 10_000)


async def test_frames_are_no_larger_than_the_peer_takes() -> None:
    first = settings(initial_window_size=1 << 24, max_frame_size=20_000) + window_update(0, 1 << 24)
    async with client(big, first=first) as peer:
        peer.send(peer.request(1, b""))
        sizes: list[int] = []
        while sum(sizes) < len(BODY) + 5:
            sizes.append(len((await peer.until(DATA)).payload))
    assert max(sizes) == 20_000


async def test_a_smaller_header_table_is_confirmed_in_the_next_block_alone() -> None:
    async with client(first=settings(header_table_size=0)) as peer:
        peer.send(peer.request(1, b"x"), peer.request(3, b""), peer.request(5, b""))
        blocks = [await peer.until(HEADERS) for _ in range(4)]
    assert [block.payload[:1] == b"\x20" for block in blocks] == [True, False, False, False]


async def test_a_message_of_no_bytes_waits_for_room_for_its_prefix() -> None:
    async def handler(call: Call) -> bytes:
        return b""

    async with client(handler, first=settings(initial_window_size=3)) as peer:
        peer.send(peer.request(1, b""))
        got = await data_of(peer, 1, 3)
        peer.send(window_update(1, 10))
        assert got + (await peer.reply(1))[0] == message(b"")


async def test_a_reply_that_nobody_takes_ends_with_its_deadline() -> None:
    async with client(big) as peer:
        peer.send(peer.request(1, b"", ("grpc-timeout", "100m")))
        assert (await peer.until(RST_STREAM, 1)).number == 8


async def test_a_reply_is_given_up_when_the_client_resets_it() -> None:
    async with client(big) as peer:
        peer.send(peer.request(1, b""))
        await data_of(peer, 1, 65_535)
        peer.send(frame(RST_STREAM, 0, 1, bytes(4)), window_update(0, 1 << 20), window_update(1, 1 << 20))
        peer.send(peer.request(3, b""))
        assert (await peer.until(DATA)).stream == 3


# --- what a client may send ---


async def allowed(peer: Peer, stream: int) -> int:
    """The increment of the next WINDOW_UPDATE of a stream."""
    return (await peer.until(WINDOW_UPDATE, stream)).number


async def test_a_large_request_is_let_in_whole_once_its_size_is_known() -> None:
    async with client(h2=H2Options(request_window=1000)) as peer:
        whole = message(BODY)
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frame(DATA, 0, 1, whole[:1000]))
        assert await allowed(peer, 1) == len(whole) - 1000
        for start in range(1000, len(whole), 16_000):
            peer.send(frame(DATA, 0, 1, whole[start : start + 16_000]))
        peer.send(window_update(0, 1 << 20), window_update(1, 1 << 20), frame(DATA, END_STREAM, 1))
        assert (await peer.reply(1))[0] == whole


async def test_padding_is_given_back() -> None:
    async with client(h2=H2Options(request_window=1000)) as peer:
        whole = message(bytes(2000))
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.request_block()), frame(DATA, 0, 1, whole[:1000]))
        assert await allowed(peer, 1) == 1005
        peer.send(frame(DATA, 8, 1, b"\xff" + whole[1000:1100] + bytes(255)))
        assert await allowed(peer, 1) == 256
        peer.send(frame(DATA, END_STREAM, 1, whole[1100:]))
        assert (await peer.reply(1))[0] == whole


async def test_large_requests_are_let_in_one_after_the_other() -> None:
    """Together they are more than the budget: the second waits until the first is answered."""
    held = Held()
    async with client(held, H2Options(request_window=1000, receive_budget=150_000)) as peer:
        whole = message(bytes(100_000))
        for stream in (1, 3):
            peer.send(frame(HEADERS, END_HEADERS, stream, peer.request_block()), frame(DATA, 0, stream, whole[:1000]))
        assert await allowed(peer, 1) == len(whole) - 1000
        peer.send(*(frame(DATA, 0, 1, whole[start : start + 16_000]) for start in range(1000, len(whole), 16_000)))
        peer.send(frame(DATA, END_STREAM, 1), peer.request(5, b"small ones are always let in"))
        await within(held.begun)
        await peer.synchronised()  # which would have passed over a WINDOW_UPDATE
        held.released.set()
        assert await allowed(peer, 3) == len(whole) - 1000


async def test_the_connections_window_is_filled_up_again() -> None:
    async with client(h2=H2Options(connection_window=200_000)) as peer:
        granted = 0
        for stream in range(1, 21, 2):
            peer.send(peer.request(stream, bytes(30_000)), window_update(0, 30_000))
            while granted < 30_000 * (stream // 2 - 2):
                granted += (await peer.until(WINDOW_UPDATE, 0)).number
    assert granted >= 200_000


# --- draining ---


async def test_a_drained_connection_says_goodbye_twice_and_serves_what_came_between() -> None:
    held = Held()
    server = H2Transport().server(held, ANY)
    async with client_of(await server.start()) as peer:
        peer.send(peer.request(1, b""))
        await within(held.begun)
        stopping = asyncio.create_task(server.stop(30))
        assert (await peer.until(GOAWAY)).goaway == ((1 << 31) - 1, 0)
        probe = await peer.until(PING)
        peer.send(peer.request(3, b"sent before the goodbye was heard"))
        peer.send(frame(PING, ACK, 0, probe.payload))
        assert (await peer.until(GOAWAY)).goaway == (3, 0)
        peer.send(peer.request(5, b"too late"))
        held.released.set()
        found = await peer.rest()
        await stopping
    ends = [(f.stream, f.flags & END_STREAM) for f in found if f.kind in (HEADERS, DATA) and f.flags & END_STREAM]
    assert sorted(ends) == [(1, 1), (3, 1)]


async def test_a_peer_that_does_not_answer_the_goodbye_is_drained_all_the_same() -> None:
    server = H2Transport().server(echo, ANY)
    async with client_of(await server.start()) as peer:
        stopping = asyncio.create_task(server.stop(30))
        goodbyes: list[Frame] = [found for found in await peer.rest() if found.kind == GOAWAY]
        await stopping
    assert [struct.unpack(">I", found.payload[:4])[0] for found in goodbyes] == [(1 << 31) - 1, 0]


async def test_calls_that_are_cut_hear_why() -> None:
    held = Held()
    server = H2Transport().server(held, ANY)
    async with client_of(await server.start()) as peer:
        peer.send(peer.request(1, b""))
        await within(held.begun)
        await server.stop(0)
        fields = (await peer.reply(1))[1]
    assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "the server is stopping")
    assert held.cancelled.is_set()


async def test_a_reply_that_is_cut_in_its_middle_is_reset() -> None:
    server = H2Transport().server(big, ANY)
    async with client_of(await server.start()) as peer:
        peer.send(peer.request(1, b""))
        await data_of(peer, 1, 65_535)
        await server.stop(0)
        found = await peer.rest()
    assert [frame_.number for frame_ in found if frame_.kind == RST_STREAM] == [8]
    assert HEADERS not in {frame_.kind for frame_ in found}


async def test_the_server_says_its_limits() -> None:
    h2 = H2Transport(H2Options(max_streams=7))
    async with serving(h2, echo, ANY) as channel, client_of(channel.address, greet=False) as peer:
        peer.send(PREFACE, settings())
        said = await peer.until(SETTINGS)
    values = dict(struct.iter_unpack(">HI", said.payload))
    assert values == {3: 7, 4: 128 << 10, 5: 256 << 10, 6: 32 << 10}
