"""What eats bytes of a peer's transport or of files: frames, header blocks, messages, the log, segments, sums."""

from __future__ import annotations

import asyncio
import io
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from hpack import Encoder

from harness.h2_peer import DATA, END_HEADERS, END_STREAM, HEADERS, PATH, PREFACE, frame, message
from harness.h2_peer import settings as settings_frame
from milvus_node.errors import StorageError
from milvus_node.index import container
from milvus_node.ingest import wal_format
from milvus_node.ingest.wal_format import FileHeader, InsertRecord, RecordHeader
from milvus_node.ingest.wal_reader import LogReader
from milvus_node.storage.checksums import Checksum
from milvus_node.storage.raw_segment import payload_bytes, read_payload
from mishards.transport.api import Call
from mishards.transport.h2.grpc_fields import parsed_reply, parsed_request
from mishards.transport.h2.handling import ServedStream, Service
from mishards.transport.h2.headers import HeaderDecoder
from mishards.transport.h2.message import inflated
from mishards.transport.h2.options import H2Options
from mishards.transport.h2.serving import ServedConnection
from mishards.transport.h2.timers import Deadlines

_REQUEST = Encoder().encode(
    [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "a"), ("te", "trailers"),
     ("content-type", "application/grpc"), ("grpc-timeout", "1H")]
)  # fmt: skip
_OPTIONS = H2Options(request_window=2000, connection_window=70_000, max_streams=3)
_MOST_INFLATED = 1 << 20


class _Sink(asyncio.Transport):
    """A socket that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def frames(data: bytes) -> None:
    """A server's connection after a good beginning; nothing is left of it in the end."""
    _loop().run_until_complete(_served(data))


async def _served(data: bytes) -> None:
    async def handler(call: Call) -> bytes:
        return bytes(call.request)

    loop = asyncio.get_running_loop()
    deadlines: Deadlines[ServedStream] = Deadlines(loop, lambda item: item.connection.expired(item))
    service = Service(loop, handler, _OPTIONS, max_message_bytes=2500, max_calls=2, deadlines=deadlines)
    connection, socket = ServedConnection(service), _Sink()
    connection.connection_made(socket)
    connection.data_received(PREFACE + settings_frame())
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        if part:
            connection.data_received(part)
            await asyncio.sleep(0)
    assert len(connection.streams) <= _OPTIONS.max_streams
    assert socket.written <= 100 * (len(data) + 100)
    connection.connection_lost(None)
    for _ in range(4):
        await asyncio.sleep(0)
    assert (service.running, len(connection.streams), len(service.connections)) == (0, 0, 0)
    deadlines.close()


def header_block(data: bytes) -> None:
    for parse in (parsed_request, parsed_reply):
        decoder: HeaderDecoder[object] = HeaderDecoder(parse, 32 << 10)
        decoder.decode(data)


def compressed(data: bytes) -> None:
    encoding = b"gzip" if data[:1] > b"\x80" else b"deflate"
    assert len(inflated(data[1:], encoding, _MOST_INFLATED)) <= _MOST_INFLATED


def log_file(data: bytes) -> None:
    path = _file(data)
    with LogReader.open(path) as reader:
        offset = wal_format.FILE_HEADER_BYTES
        while (found := reader.record_at(offset)) is not None:
            assert found[0].payload_bytes <= len(data)
            offset = wal_format.offset_of(found[0].lsn)
        reader.was_durable(offset)


def log_payload(data: bytes) -> None:
    """What only a broken writer or a forger can bring past the checksum."""
    payload = np.frombuffer(bytearray(data[2:]), np.uint8)
    flags = data[1] if len(data) > 1 else 0
    header = RecordHeader(data[0] if data else 1, flags, 0, payload.size, 0)
    record = wal_format.decode(header, payload)
    if isinstance(record, InsertRecord):
        assert len(record.ids) == len(record.vectors)


def segment_file(data: bytes) -> None:
    path = _file(data)
    assert payload_bytes(path) == len(data) - 8
    assert read_payload(path).nbytes == len(data) - 8


def index_file(data: bytes) -> None:
    _, blobs = container.read(io.BytesIO(data))
    assert sum(len(blob.read(1 << 20)) for blob in blobs.values()) <= len(data)


def sum_file(data: bytes) -> None:
    Checksum.parse(data)


_folders: list[Path] = []
_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


def _file(data: bytes) -> Path:
    """A file with this content; in memory, where the machine has such a folder."""
    if not _folders:
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        _folders.append(Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None)))
    path = _folders[0] / "file"
    path.write_bytes(data)
    return path


def _log_seed() -> bytes:
    header = FileHeader(1, b"saltsalt", 0).pack()
    record = InsertRecord("c", np.array([1, 2], np.int64), np.zeros((2, 16), np.uint8), ids_generated=False)
    encoded = wal_format.encode(record)
    end = len(header) + encoded.size
    head = encoded.header(wal_format.lsn_of(1, end), len(header), b"saltsalt")
    return header + head + b"".join(map(bytes, encoded.payload))


def _payload_seed() -> bytes:
    record = InsertRecord("c", np.array([1, 2], np.int64), np.zeros((2, 16), np.uint8), ids_generated=False)
    return b"\1\0" + b"".join(map(bytes, wal_format.encode(record).payload))


def _index_seed() -> bytes:
    stream = io.BytesIO()
    container.write(stream, 5, [container.Blob("IVF", lambda into: into.write(b"x" * 20) and None)])
    return stream.getvalue()


SEEDS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "frames": (
            frame(HEADERS, END_HEADERS, 1, _REQUEST) + frame(DATA, END_STREAM, 1, message(b"x")),
            frame(HEADERS, END_HEADERS, 1, _REQUEST) + frame(3, 0, 1, bytes(4)) + frame(6, 0, 0, bytes(8)),
            frame(8, 0, 0, b"\0\0\0\1") + frame(4, 0, 0, b"\0\4\0\0\xff\xff") + frame(7, 0, 0, bytes(8)),
        ),
        "header_block": (_REQUEST, b"\x88\x20", b"\x3f\xe1\x1f\x40\x01a\x01b"),
        "compressed": (b"\xff\x1f\x8b" + zlib.compress(b"x" * 100, wbits=31)[2:], b"\0" + zlib.compress(bytes(9000))),
        "log_file": (_log_seed(), FileHeader(1, b"saltsalt", 0).pack()),
        "log_payload": (_payload_seed(),),
        "segment_file": ((16).to_bytes(8, "little") + bytes(16),),
        "index_file": (_index_seed(),),
        "sum_file": (b'{"size": 24, "crc32": "0badcafe", "modified_ns": 5}',),
    }
)
REFUSALS: Mapping[str, tuple[type[Exception], ...]] = MappingProxyType(
    {"log_payload": (ValueError,), "sum_file": (ValueError,), "segment_file": (StorageError,)}
)
"""What parsers raise whose callers turn it into an error of the tree."""
