"""The connection of a channel: made, limited, watched, left and made again."""

from __future__ import annotations

import asyncio
import struct

import pytest

from harness.h2_peer import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    Peer,
    frame,
    server_of,
    settings,
    window_update,
)
from harness.h2_scripts import HEAD, answer, call, channel_to, echo, request_of, trailers
from mishards.deadline import Deadline
from mishards.errors import NodeError, NodeOverloaded, NodeTimeout, NodeUnavailable
from mishards.testing.transport import within
from mishards.transport.h2 import control
from mishards.transport.h2.channel import H2Channel
from mishards.transport.h2.options import H2Options


async def failure_of(channel: H2Channel, deadline: Deadline | None = None) -> NodeError:
    with pytest.raises(NodeError) as caught:
        await call(channel, deadline=deadline)
    return caught.value


async def test_goodbye_fails_what_was_not_looked_at_and_lets_the_rest_end() -> None:
    async def script(peer: Peer) -> None:
        heads = [await peer.until(HEADERS) for _ in range(2)]
        assert [peer.fields(head)[":path"] for head in heads]
        peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0) + b"enough"), answer(peer, 1, b"served"))
        await peer.rest()

    async with channel_to(script) as channel:
        results = await asyncio.gather(call(channel), call(channel), return_exceptions=True)
    refused = [result for result in results if isinstance(result, NodeUnavailable)]
    assert b"served" in results
    assert [error.sent for error in refused] == [False]
    assert "enough" in str(refused[0])


async def test_after_a_goodbye_the_next_call_goes_over_a_new_connection() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        stream, _, body = await request_of(peer)
        peer.send(answer(peer, stream, body[5:]), frame(GOAWAY, 0, 0, struct.pack(">II", stream, 0)))
        await peer.rest()

    async with channel_to(script) as channel:
        for expected in range(1, 4):
            while connections < expected:
                (result,) = await asyncio.gather(call(channel), return_exceptions=True)
                # The goodbye may still be on its way: then the call is refused, and may be repeated.
                assert result == b"x" or (isinstance(result, NodeUnavailable) and not result.sent)
    assert connections == 3


async def test_a_connection_that_breaks_during_a_call_may_have_brought_it() -> None:
    async def script(peer: Peer) -> None:
        await request_of(peer)

    async with channel_to(script) as channel:
        error = await failure_of(channel)
        assert (type(error), error.sent) == (NodeUnavailable, True)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(PING, 0, 0, bytes(8))])
async def test_an_address_that_does_not_speak_http_2_is_unavailable_and_never_sent(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        peer.send(said)
        await peer.rest()

    async with server_of(script) as address:
        channel = H2Channel(address, H2Options(connect_timeout_s=0.2))
        error = await failure_of(channel)
        assert (type(error), error.sent) == (NodeUnavailable, False)
        await channel.close()


async def test_an_address_that_is_none_is_unavailable() -> None:
    channel = H2Channel("nowhere", H2Options())
    error = await failure_of(channel)
    assert (type(error), error.sent) == (NodeUnavailable, False)
    await channel.close()


async def test_a_deadline_passes_while_a_connection_is_made() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async with server_of(script) as address:
        channel = H2Channel(address, H2Options(connect_timeout_s=60))
        error = await failure_of(channel, Deadline.after(0.1))
        assert (type(error), error.sent) == (NodeTimeout, False)
        waiting = asyncio.create_task(call(channel))
        await asyncio.sleep(0)
        await channel.close()
        with pytest.raises(NodeUnavailable):
            await waiting


async def test_after_a_failure_calls_fail_at_once_until_it_is_time_to_try_again() -> None:
    attempts = 0

    async def script(peer: Peer) -> None:
        nonlocal attempts
        attempts += 1

    async with server_of(script) as address:
        channel = H2Channel(address, H2Options(backoff_min_s=600, backoff_max_s=600))
        for _ in range(5):
            assert not (await failure_of(channel)).sent
        await channel.close()
    assert attempts == 1


async def test_calls_wait_for_their_turn_where_the_server_allows_few_at_once() -> None:
    under_way = most = 0

    async def script(peer: Peer) -> None:
        nonlocal under_way, most
        for _ in range(20):
            head = await peer.until(HEADERS)
            peer.fields(head)
            under_way += 1
            most = max(most, under_way)
            await peer.until(DATA, head.stream)
            under_way -= 1
            peer.send(answer(peer, head.stream, b"%d" % head.stream))
        await peer.rest()

    async with channel_to(script, first=settings(max_concurrent_streams=1)) as channel:
        replies = await asyncio.gather(*(call(channel) for _ in range(20)))
    assert sorted(map(int, replies)) == list(range(1, 41, 2))
    assert most == 1


async def test_a_deadline_passes_while_a_call_waits_for_its_turn() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async with channel_to(script, first=settings(max_concurrent_streams=1)) as channel:
        first = asyncio.create_task(call(channel))
        error = await failure_of(channel, Deadline.after(0.2))
        assert isinstance(error, NodeTimeout)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_server_that_answers_no_ping_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async with channel_to(script, H2Options(keepalive_s=0.05, keepalive_timeout_s=0.05)) as channel:
        error = await failure_of(channel)
        assert (type(error), error.sent) == (NodeUnavailable, True)
        assert "ping" in str(error)


async def test_a_server_that_answers_pings_may_take_its_time() -> None:
    pings = 0
    enough = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal pings
        stream, _, body = await request_of(peer)
        while pings < 3:
            found = await peer.until(PING)
            pings += 1
            peer.send(frame(PING, ACK, 0, found.payload))
        enough.set()
        peer.send(answer(peer, stream, body[5:]))
        await peer.rest()

    options = H2Options(keepalive_s=0.05, keepalive_timeout_s=20, keepalive_idle_s=0.05)
    async with channel_to(script, options) as channel:
        options_wait = asyncio.create_task(call(channel))
        await within(enough)
        assert await options_wait == b"x"


async def test_stream_numbers_that_run_out_are_no_end() -> None:
    async with channel_to(echo) as channel:
        assert await call(channel) == b"x"
        assert channel._connection is not None
        channel._connection._next_id = (1 << 31) - 3
        replies = [await call(channel, b"%d" % number) for number in range(4)]
    assert replies == [b"0", b"1", b"2", b"3"]


async def test_a_large_request_goes_as_far_as_the_server_allows() -> None:
    body = bytes(300_000)

    async def script(peer: Peer) -> None:
        await peer.until(HEADERS)
        got = 0
        while got < 65_535:
            got += len((await peer.until(DATA)).payload)
        assert got == 65_535
        peer.send(window_update(1, 1 << 20), window_update(0, 1 << 20))
        while not (found := await peer.until(DATA)).flags & END_STREAM:
            got += len(found.payload)
        peer.send(answer(peer, 1, b"%d" % (got + len(found.payload))))
        await peer.rest()

    async with channel_to(script) as channel:
        assert await call(channel, body) == b"300005"


async def test_an_answer_before_the_whole_request_ends_the_call_and_the_request() -> None:
    resets: list[Frame] = []

    async def script(peer: Peer) -> None:
        await peer.until(DATA)
        peer.send(trailers(peer, 1, *HEAD, ("grpc-status", "8")))
        resets.append(await peer.until(RST_STREAM, 1))
        peer.send(window_update(0, 1 << 20))
        await echo(peer)

    async with channel_to(script) as channel:
        with pytest.raises(NodeOverloaded):
            await call(channel, bytes(300_000))
        assert await call(channel) == b"x"
    assert [reset.number for reset in resets] == [0]


async def test_a_call_that_is_given_up_is_cancelled_at_the_server() -> None:
    async def script(peer: Peer) -> None:
        stream, _, body = await request_of(peer)
        peer.send(answer(peer, stream, body[5:]))
        stream, _, _ = await request_of(peer)
        reset = await peer.until(RST_STREAM, stream)
        assert reset.number == 8
        await echo(peer)

    async with channel_to(script) as channel:
        assert await call(channel) == b"x"
        with pytest.raises(NodeTimeout):
            await call(channel, deadline=Deadline.after(0.2))
        assert await call(channel) == b"x"


async def test_late_replies_to_calls_that_were_given_up_are_no_offence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_NUISANCES", 3.0)
    monkeypatch.setattr(control, "_NUISANCES_PER_S", 0.0)
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        for _ in range(10):
            stream, _, body = await request_of(peer)
            asked.set()
            await peer.until(RST_STREAM, stream)
            peer.send(answer(peer, stream, body[5:]))
        await echo(peer)

    async with channel_to(script) as channel:
        for _ in range(10):
            calling = asyncio.create_task(call(channel))
            await within(asked)
            asked.clear()
            calling.cancel()
            await asyncio.wait((calling,))
        assert await call(channel) == b"x"


async def test_the_channel_says_its_limits_and_goodbye() -> None:
    seen: list[Frame] = []
    asked, done = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.send(settings())
        while (found := await peer.next()) is not None:
            seen.append(found)
            if found.kind == DATA:
                asked.set()
        done.set()

    async with server_of(script) as address:
        channel = H2Channel(address, H2Options())
        asking = asyncio.create_task(call(channel))
        await within(asked)
        await channel.close()
        await within(done)
        with pytest.raises(NodeUnavailable):
            await asking
    assert dict(struct.iter_unpack(">HI", seen[0].payload)) == {2: 0, 4: 1 << 20, 5: 256 << 10, 6: 32 << 10}
    kinds = [found.kind for found in seen]
    assert kinds == [SETTINGS, WINDOW_UPDATE, SETTINGS, HEADERS, DATA, GOAWAY]
