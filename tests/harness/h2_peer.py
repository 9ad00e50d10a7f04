"""Raw ends of HTTP/2 connections, for what no library would send; header blocks go through hpack's own coder."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hpack import Decoder, Encoder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH = "/milvus.grpc.MilvusService/Search"

_PATIENCE_S = 30

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Frame:
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The first 32 bits: an error code, or an increment."""
        found: int = struct.unpack_from(">I", self.payload)[0]
        return found

    @property
    def goaway(self) -> tuple[int, int]:
        """Last stream and error code."""
        last, code = struct.unpack_from(">II", self.payload)
        return last, code


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """SETTINGS, by the names of RFC 9113 in lower case."""
    names = ("header_table_size", "enable_push", "max_concurrent_streams", "initial_window_size", "max_frame_size")
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", 1 + names.index(n), v) for n, v in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", increment))


def message(body: bytes, compressed: int = 0) -> bytes:
    """A message as gRPC frames it."""
    return struct.pack(">BI", compressed, len(body)) + body


class Peer:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.encoder, self.decoder = Encoder(), Decoder()

    def send(self, *frames: bytes) -> None:
        """Write; what the socket does not take waits."""
        self.writer.write(b"".join(frames))

    def block(self, fields: Fields) -> bytes:
        """An encoded header block, which may use the dynamic table."""
        encoded: bytes = self.encoder.encode(list(fields))
        return encoded

    def request_block(self, *more: tuple[str, str], **changed: str | None) -> bytes:
        """The header block of a request; ``changed`` replaces or leaves out pseudo-fields and the content type."""
        fields = {
            ":method": changed.get("method", "POST"),
            ":scheme": "http",
            ":path": changed.get("path", PATH),
            ":authority": "test",
            "te": "trailers",
            "content-type": changed.get("content_type", "application/grpc"),
        }
        return self.block([*((name, value) for name, value in fields.items() if value is not None), *more])

    def request(self, stream: int, body: bytes, *more: tuple[str, str]) -> bytes:
        """The frames of a whole call."""
        return frame(HEADERS, END_HEADERS, stream, self.request_block(*more)) + frame(
            DATA, END_STREAM, stream, message(body)
        )

    async def next(self) -> Frame | None:
        """The next frame; None when the connection ended."""
        try:
            head = await asyncio.wait_for(self._reader.readexactly(9), _PATIENCE_S)
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            return Frame(kind, flags, stream, await asyncio.wait_for(self._reader.readexactly(length), _PATIENCE_S))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def until(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of that kind (and stream); others are passed over."""
        while (found := await self.next()) is not None:
            if found.kind == kind and stream in (None, found.stream):
                return found
        raise AssertionError(f"the connection ended before a frame of kind {kind}")

    async def rest(self) -> list[Frame]:
        """All frames to the end of the connection."""
        found = []
        while (frame_ := await self.next()) is not None:
            found.append(frame_)
        return found

    async def text(self) -> bytes:
        """All bytes to the end of the connection."""
        return await asyncio.wait_for(self._reader.read(), _PATIENCE_S)

    def fields(self, headers: Frame) -> dict[str, str]:
        """What a header block says; each block must be given, in order."""
        return {str(name): str(value) for name, value in self.decoder.decode(headers.payload)}

    async def reply(self, stream: int) -> tuple[bytes, dict[str, str]]:
        """The messages' bytes and all header fields of one stream, once it ended."""
        body, fields = b"", {}
        while True:
            found = await self.next()
            if found is None:
                raise AssertionError(f"the connection ended before stream {stream} did")
            if found.kind == HEADERS:
                fields.update(self.fields(found))
            if found.kind == DATA and found.stream == stream:
                body += found.payload
            if found.stream == stream and found.kind in (DATA, HEADERS) and found.flags & END_STREAM:
                return body, fields

    async def greeted(self) -> Peer:
        """After the other end's SETTINGS, which are answered."""
        await self.until(SETTINGS)
        self.send(frame(SETTINGS, ACK))
        return self

    async def synchronised(self) -> None:
        """After everything that was sent was looked at."""
        self.send(frame(PING, payload=b"in order"))
        while (await self.until(PING)).payload != b"in order":
            pass


@asynccontextmanager
async def client_of(address: str, *, greet: bool = True) -> AsyncIterator[Peer]:
    """A client's end; with ``greet`` the preface and SETTINGS are exchanged already."""
    host, _, port = address.rpartition(":")
    peer = Peer(*await asyncio.open_connection(host, int(port)))
    try:
        if greet:
            peer.send(PREFACE, settings())
            await peer.greeted()
        yield peer
    finally:
        peer.writer.close()


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def server_of(script: Script) -> AsyncIterator[str]:
    """A server that plays ``script`` to each client, after the preface and both SETTINGS; give its address."""
    tasks: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        peer = Peer(reader, writer)
        try:
            await reader.readexactly(len(PREFACE))
            await script(peer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the end of the client, or of the test
        finally:
            writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
