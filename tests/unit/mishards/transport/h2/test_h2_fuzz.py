"""Both ends of a connection survive whatever frames come: they go on or say GOAWAY, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import struct

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.h2_peer import DATA, END_HEADERS, END_STREAM, HEADERS, PATH, PREFACE, RST_STREAM, frame, message
from harness.h2_peer import settings as settings_frame
from mishards.deadline import Deadline
from mishards.errors import MishardsError
from mishards.transport.api import Call
from mishards.transport.h2.calling import CallingConnection
from mishards.transport.h2.handling import ServedStream, Service
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.serving import ServedConnection
from mishards.transport.h2.timers import Deadlines

EXAMPLES = int(os.environ.get("MISHARDS_FUZZ_EXAMPLES", "0")) or settings.default.max_examples  # type: ignore[union-attr]
OPTIONS = H2Options(request_window=2000, reply_window=2000, connection_window=70_000, max_streams=3)

REQUEST = Encoder().encode(
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "a"), ("te", "trailers"),
     ("content-type", "application/grpc"), ("grpc-timeout", "1H")]
)  # fmt: skip
REPLY = Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = Encoder().encode([("grpc-status", "0")])

STREAMS = st.sampled_from([0, 1, 1, 2, 3, 5, 7, 9])
BLOCKS = st.one_of(st.sampled_from([REQUEST, REPLY, TRAILERS, b"\x88", b"\x20", b""]), st.binary(max_size=30))
NUMBERS = st.sampled_from([0, 1, 8, 100, 65_535, (1 << 31) - 1, (1 << 32) - 1])
SETTING = st.tuples(st.integers(0, 8), NUMBERS).map(lambda pair: struct.pack(">HI", *pair))
BODIES = st.one_of(st.binary(max_size=20), st.binary(max_size=50).map(message), st.just(message(bytes(3000))))
FLAGS = st.sampled_from([0, 1, 4, 5, 5, 8, 9, 13, 0x25])
FRAMES = st.lists(
    st.one_of(
        st.builds(lambda stream, block, flags: frame(HEADERS, flags, stream, block), STREAMS, BLOCKS, FLAGS),
        st.builds(lambda stream, body, flags: frame(DATA, flags & 9, stream, body), STREAMS, BODIES, FLAGS),
        st.builds(lambda stream: frame(HEADERS, END_HEADERS, stream, REQUEST), STREAMS),
        st.builds(lambda stream: frame(DATA, END_STREAM, stream, message(b"x")), STREAMS),
        st.builds(lambda stream, code: frame(RST_STREAM, 0, stream, struct.pack(">I", code)), STREAMS, NUMBERS),
        st.builds(lambda stream, n: frame(8, 0, stream, struct.pack(">I", n)), STREAMS, NUMBERS),
        st.builds(lambda values: frame(4, 0, 0, b"".join(values)), st.lists(SETTING, max_size=3)),
        st.builds(lambda last, code: frame(7, 0, 0, struct.pack(">II", last, code)), NUMBERS, NUMBERS),
        st.builds(frame, st.integers(0, 11), st.integers(0, 255), STREAMS, st.binary(max_size=12)),
    ),
    max_size=25,
)
CUTS = st.lists(st.integers(1, 80), max_size=8)


class Memory(asyncio.Transport):
    """A socket that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


async def feed(protocol: asyncio.Protocol, stream: bytes, cuts: list[int]) -> None:
    start = 0
    for size in [*cuts, len(stream)]:
        if stream[start : start + size]:
            protocol.data_received(stream[start : start + size])
        start += size
        await asyncio.sleep(0)


async def served(stream: bytes, cuts: list[int]) -> None:
    async def handler(call: Call) -> bytes:
        if call.request == b"x":
            await asyncio.sleep(0)
        return bytes(call.request) * 2

    loop = asyncio.get_running_loop()
    deadlines: Deadlines[ServedStream] = Deadlines(loop, lambda item: item.connection.expired(item))
    service = Service(loop, handler, OPTIONS, max_message_bytes=2500, max_calls=2, deadlines=deadlines)
    connection, socket = ServedConnection(service), Memory()
    connection.connection_made(socket)
    await feed(connection, PREFACE + settings_frame() + stream, cuts)
    assert len(connection.streams) <= OPTIONS.max_streams
    assert connection.closed == socket.closed
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    assert socket.closed
    for _ in range(5):
        await asyncio.sleep(0)
    assert (service.running, connection.running, len(connection.streams), len(service.connections)) == (0, 0, 0, 0)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    deadlines.close()


def tell(told: list[bytes | MishardsError], reply: bytes, error: MishardsError | None) -> None:
    told.append(error or reply)


async def called(stream: bytes, cuts: list[int]) -> None:
    loop = asyncio.get_running_loop()
    deadlines: Deadlines[object] = Deadlines(loop, lambda item: None)
    lost: list[CallingConnection] = []
    connection, socket = CallingConnection("a:1", OPTIONS, deadlines, lost.append), Memory()  # type: ignore[arg-type]
    connection.connection_made(socket)
    connection.data_received(settings_frame())
    outcomes: list[list[bytes | MishardsError]] = [[], [], []]
    for size, told in zip((0, 10, 100_000), outcomes, strict=True):
        connection.begin(
            REQUEST, bytes(size), Deadline.after(60), lambda reply, error, told=told: told.append(error or reply)
        )
    await feed(connection, stream, cuts)
    connection.connection_lost(None)
    assert socket.closed
    assert [len(told) for told in outcomes] == [1, 1, 1]
    assert lost == [connection]
    assert not connection.streams
    deadlines.close()


@settings(max_examples=EXAMPLES)
@given(FRAMES.map(b"".join), CUTS)
def test_a_server_survives_any_frames(stream: bytes, cuts: list[int]) -> None:
    asyncio.run(served(stream, cuts))


@settings(max_examples=EXAMPLES)
@given(FRAMES.map(b"".join), CUTS)
def test_a_client_survives_any_frames(stream: bytes, cuts: list[int]) -> None:
    asyncio.run(called(stream, cuts))


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=300), CUTS)
def test_a_server_survives_any_bytes(stream: bytes, cuts: list[int]) -> None:
    asyncio.run(served(stream, cuts))


async def test_the_end_of_a_connection_whose_peer_has_gone_is_no_error() -> None:
    class Gone(Memory):
        def write_eof(self) -> None:
            raise OSError("not connected")

    async def handler(call: Call) -> bytes:
        return b""

    loop = asyncio.get_running_loop()
    deadlines: Deadlines[ServedStream] = Deadlines(loop, lambda item: item.connection.expired(item))
    connection = ServedConnection(Service(loop, handler, OPTIONS, -1, 0, deadlines))
    socket = Gone()
    connection.connection_made(socket)
    connection.cut()
    assert socket.closed
    connection.connection_lost(None)
