"""The pure parts: header fields against another coder, messages, reservations, statuses, deadlines."""

from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from mishards.deadline import Deadline
from mishards.errors import NodeFault, NodeRejected, RpcStatus
from mishards.transport.h2 import headers
from mishards.transport.h2.flow import Allowance, Reservations
from mishards.transport.h2.frames import ConnectionFault
from mishards.transport.h2.grpc_fields import (
    REPLY_HEAD,
    parsed_reply,
    percent_encoded,
    request_fields,
    timeout_field,
    timeout_of,
)
from mishards.transport.h2.headers import HeaderDecoder, field, field_of_static, text_fields
from mishards.transport.h2.message import Message, MessageFault
from mishards.transport.h2.outbox import MAX_PROVOKED_BYTES, Outbox
from mishards.transport.h2.outcome import failure
from mishards.transport.h2.timers import Deadlines
from mishards.transport.h2.turns import Turns

NAMES = st.sampled_from([b"a", b"request_id", b"grpc-timeout", b"x" * 200])
VALUES = st.binary(max_size=300)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in Decoder().decode(block, raw=True)]


@given(NAMES, VALUES)
def test_a_field_that_is_sent_is_what_another_decoder_reads_and_enters_no_table(name: bytes, value: bytes) -> None:
    decoder = Decoder()
    assert [(bytes(n), bytes(v)) for n, v in decoder.decode(field(name, value), raw=True)] == [(name, value)]
    assert not decoder.header_table.dynamic_entries
    assert decoded(field_of_static(31, value)) == [(b"content-type", value)]


def test_the_constant_blocks_say_what_they_should() -> None:
    assert dict(decoded(REPLY_HEAD))[b":status"] == b"200"
    request = dict(decoded(request_fields("Search", "host:1", tls=True)))
    assert (request[b":method"], request[b":scheme"]) == (b"POST", b"https")
    assert (request[b":path"], request[b":authority"]) == (b"/milvus.grpc.MilvusService/Search", b"host:1")


@pytest.mark.parametrize("pair", [("Capital", "x"), (":path", "/"), ("", "x"), ("a", "x\r"), ("a", "\0"), ("a", "世")])
def test_metadata_that_http_2_cannot_carry_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|latin-1"):
        text_fields([pair])


@given(st.lists(LISTS, max_size=12), st.lists(st.integers(0, 11), max_size=30), st.booleans())
def test_blocks_are_decoded_as_another_decoder_does_though_they_are_remembered(
    lists: list[list[tuple[bytes, bytes]]], order: list[int], small: bool
) -> None:
    """An encoder with a dynamic table makes blocks whose bytes are alike and whose meaning is not."""
    encoder, oracle = Encoder(), Decoder()
    decoder: HeaderDecoder[list[tuple[bytes, bytes]]] = HeaderDecoder(list, 1 << 20)
    for number in order:
        fields = lists[number % len(lists)] if lists else []
        if small and number == 3:
            encoder.header_table_size = 100 if encoder.header_table_size == 4096 else 4096
        block = encoder.encode(fields)
        assert decoder.decode(block) == [(bytes(n), bytes(v)) for n, v in oracle.decode(block, raw=True)] == fields


def test_no_more_blocks_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_CACHED_BLOCKS", 4)
    decoder: HeaderDecoder[tuple[tuple[bytes, bytes], ...]] = HeaderDecoder(tuple, 1 << 20)
    for number in range(20):
        assert decoder.decode(field(b"a", b"%d" % number)) == ((b"a", b"%d" % number),)
        assert len(decoder._parsed) <= 4
    decoder.decode(field(b"a", bytes(2000)))
    assert all(len(block) < 100 for block in decoder._parsed)


def test_a_list_that_is_too_long_ends_the_connection() -> None:
    decoder: HeaderDecoder[object] = HeaderDecoder(list, 1000)
    with pytest.raises(ConnectionFault):
        decoder.decode(field(b"a", bytes(1000)))


@given(st.floats(1e-9, 9e7))
def test_a_time_out_is_sent_rounded_up_by_less_than_a_hundredth(seconds: float) -> None:
    ((name, value),) = decoded(timeout_field(seconds))
    said = timeout_of(value)
    assert name == b"grpc-timeout"
    assert said is not None
    assert said >= seconds * (1 - 1e-9)
    assert said <= seconds * 1.01 + 2e-6


def test_a_time_out_of_ages_is_none() -> None:
    assert timeout_field(1e12) == b""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"2H", 7200), (b"3M", 180), (b"4S", 4), (b"5m", 0.005), (b"6u", 6e-6), (b"7n", 7e-9), (b"0S", 0), (b"1", None)],
)
def test_a_time_out_is_read_in_every_unit(text: bytes, seconds: float | None) -> None:
    assert timeout_of(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=100))
def test_a_status_message_comes_back_as_it_was(text: str) -> None:
    sent = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in sent)
    assert parsed_reply([(b"grpc-status", b"5"), (b"grpc-message", sent)]).message == text.encode(
        "utf-8", "replace"
    ).decode("utf-8")


def test_a_status_message_is_cut_before_it_is_too_long() -> None:
    assert len(percent_encoded("x" * 100_000)) == 4096


def test_a_reply_that_says_nothing_is_a_fault_of_the_node() -> None:
    assert isinstance(failure("a", None, None), NodeFault)
    error = failure("a", None, parsed_reply([(b"grpc-status", b"99")]))
    assert isinstance(error, NodeRejected)
    assert error.status is RpcStatus.UNKNOWN


# --- messages ---


@given(st.binary(max_size=20_000), st.lists(st.integers(0, 20_005), max_size=12))
def test_a_message_is_put_together_however_it_was_cut(body: bytes, cuts: list[int]) -> None:
    whole = b"\0" + len(body).to_bytes(4, "big") + body
    places = sorted({0, len(whole), *(place % len(whole) for place in cuts)})
    message = Message()
    for start, stop in pairwise(places):
        assert message.body is None
        message.take(b"??" + whole[start:stop] + b"?", (2, 2 + stop - start), -1)
        assert message.missing == (len(whole) - stop if stop >= 5 else 0)
    assert message.body == body


def test_a_message_over_the_limit_is_refused_when_its_size_is_known() -> None:
    message = Message()
    message.take(b"\0\0\0", (0, 3), 10)
    with pytest.raises(MessageFault) as caught:
        message.take(b"\0\x0b", (0, 2), 10)
    assert caught.value.status is RpcStatus.RESOURCE_EXHAUSTED


# --- bounds ---


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=60))
def test_reservations_keep_their_budget_and_nobody_waits_for_ever(steps: list[tuple[bool, int]]) -> None:
    """Against a list that is walked through anew each time."""
    reservations = Reservations(100)
    held: dict[int, int] = {}
    waiting: list[tuple[int, int]] = []

    def admit() -> list[int]:
        admitted = []
        while waiting and (not held or sum(held.values()) + waiting[0][1] <= 100):
            stream, size = waiting.pop(0)
            held[stream] = size
            admitted.append(stream)
        return admitted

    for number, (asks, size) in enumerate(steps):
        if asks:
            waiting.append((number, size * 3))
            admitted = admit()
            assert reservations.ask(number, size * 3) == (number in admitted)
        else:
            everyone = [*held, *(stream for stream, _ in waiting)]
            if not everyone:
                continue
            gone = everyone[size % len(everyone)]
            held.pop(gone, None)
            waiting = [entry for entry in waiting if entry[0] != gone]
            assert reservations.release(gone) == admit()
        assert all(reservations.holds(stream) for stream in held)
        assert not any(reservations.holds(stream) for stream, _ in waiting)
        assert sum(held.values()) <= 100 or len(held) == 1


def test_an_allowance_is_a_burst_and_so_many_a_second() -> None:
    allowance = Allowance(burst=3, per_s=2, now=10.0)
    assert [allowance.spend(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.spend(11.0) for _ in range(2)] == [True, False]
    assert [allowance.spend(1000.0) for _ in range(4)] == [True, True, True, False]
    for _ in range(3):
        allowance.earn()
    assert allowance.spend(1000.0)


async def test_answers_that_are_provoked_and_not_read_are_counted() -> None:
    outbox = Outbox(asyncio.get_running_loop(), lambda stream: None)
    outbox.control(bytes(MAX_PROVOKED_BYTES + 1))
    assert not outbox.flooded
    outbox.pause()
    outbox.control(bytes(MAX_PROVOKED_BYTES))
    assert not outbox.flooded
    outbox.control(b"x")
    assert outbox.flooded
    outbox.resume()
    assert not outbox.flooded


# --- deadlines ---


async def test_deadlines_fire_once_never_early_and_share_timers() -> None:
    loop, fired = asyncio.get_running_loop(), dict[int, float]()
    done = loop.create_future()

    def expire(number: int) -> None:
        fired[number] = time.monotonic()
        if len(fired) == 90:
            done.set_result(None)

    deadlines: Deadlines[int] = Deadlines(loop, expire)
    began = time.monotonic()
    at = {number: began + number / 1000 for number in range(100)}
    keys = {number: deadlines.add(moment, number) for number, moment in at.items()}
    for number in range(10, 20):
        deadlines.discard(keys[number], number)
    await asyncio.wait_for(done, 30)
    assert sorted(fired) == [*range(10), *range(20, 100)]
    assert all(moment >= at[number] for number, moment in fired.items())
    deadlines.discard(keys[0], 0)


async def test_many_deadlines_far_away_need_few_timers() -> None:
    deadlines: Deadlines[int] = Deadlines(asyncio.get_running_loop(), lambda number: None)
    now = time.monotonic()
    keys = [deadlines.add(now + 60 + number / 1000, number) for number in range(2000)]
    assert len(deadlines._timers) == len(set(keys)) <= 5
    assert all(0 <= key - (now + 60 + number / 1000) <= 60 / 32 for number, key in enumerate(keys))
    assert not math.isinf(max(keys))
    deadlines.close()


# --- turns ---


async def test_turns_are_taken_in_order_as_there_is_room() -> None:
    room, came = [0], list[int]()
    turns = Turns(lambda: room[0])

    async def wait(number: int) -> None:
        await turns.wait(Deadline.after(30))
        came.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    turns.wake()
    room[0] = 2
    turns.wake()
    await asyncio.gather(*tasks[:2])
    assert came == [0, 1]
    room[0] = 10
    turns.wake()
    await asyncio.gather(*tasks)
    assert came == [0, 1, 2, 3]


async def test_a_turn_that_is_not_taken_is_the_next_ones() -> None:
    turns = Turns(lambda: 1)
    first, late, last = (
        asyncio.create_task(turns.wait(deadline))
        for deadline in (Deadline.after(30), Deadline.after(0), Deadline.never())
    )
    await asyncio.sleep(0)
    await late
    turns.wake()
    first.cancel()
    await asyncio.wait_for(last, 30)
    assert first.cancelled()
