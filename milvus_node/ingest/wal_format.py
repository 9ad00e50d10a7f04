"""The bytes of the write-ahead log; no I/O.

A log file ``<number>.wal`` is a file header followed by records without gaps. All numbers are little endian.

    file header, 32 bytes                            record header, 32 bytes
    0   8  magic, "MISHWAL" and a line feed          0   4  magic, AB "REC"
    8   4  u32 version, 1                            4   1  u8 kind: 1 insert, 2 delete
    12  4  u32 number of this file                   5   1  u8 flags: 1 the ids were generated
    16  4  salt, random bytes                        6   2  zero
    20  8  u64 LSN at the end of the file before     8   8  u64 LSN
    28  4  u32 CRC-32 of the 28 bytes before         16  8  u64 payload bytes
                                                     24  4  u32 group
    payload of a record                              28  4  u32 CRC-32 of payload, salt, and the 28 bytes before
    0   4  u32 rows
    4   4  u32 bytes of one vector, 0 for a delete
    8   2  u16 tables (1 for an insert), then for each: u16 bytes, name in UTF-8; zeros up to a multiple of 8
    …      rows * int64 ids
    …      rows * bytes of one vector

The LSN of a record is ``file number << 32 | offset of the record's end``, so LSNs rise strictly and a record knows
where it belongs. ``group`` is the offset of the first record that was synced together with this one: what lies before
it was durable when this record was written. The salt keeps a client from sending vectors that look like a record.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from milvus_node.storage.file_io import bytes_of, total_bytes

FILE_HEADER_BYTES = 32
RECORD_HEADER_BYTES = 32
RECORD_MAGIC = b"\xabREC"
MAX_FILE_BYTES = (1 << 32) - 1

_FILE_MAGIC = b"MISHWAL\n"
_VERSION = 1
_FILE_HEADER = struct.Struct("<8sII4sQ")
_RECORD_HEADER = struct.Struct("<4sBBHQQI")
_CRC = struct.Struct("<I")
_PAYLOAD_HEADER = struct.Struct("<IIH")
_NAME_LENGTH = struct.Struct("<H")
_INSERT = 1
_DELETE = 2
_IDS_GENERATED = 1


@dataclass(frozen=True, slots=True, eq=False)
class InsertRecord:
    """Rows for one table: ``ids`` is ``int64[n]``, ``vectors`` ``uint8[n, row_bytes]``."""

    table_id: str
    ids: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.uint8]
    ids_generated: bool


@dataclass(frozen=True, slots=True, eq=False)
class DeleteRecord:
    """Ids (``int64[n]``) to delete from each of some tables."""

    table_ids: tuple[str, ...]
    ids: npt.NDArray[np.int64]


Record: TypeAlias = InsertRecord | DeleteRecord


def lsn_of(number: int, offset: int) -> int:
    """The LSN of a record that ends at ``offset`` in file ``number``."""
    return number << 32 | offset


def number_of(lsn: int) -> int:
    """The number of the file that holds the record with this LSN."""
    return lsn >> 32


def offset_of(lsn: int) -> int:
    """The offset at which the record with this LSN ends."""
    return lsn & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The start of a log file; ``previous_end`` is 0 when no file came before."""

    number: int
    salt: bytes
    previous_end: int

    def pack(self) -> bytes:
        """The 32 bytes on disk."""
        fields = _FILE_HEADER.pack(_FILE_MAGIC, _VERSION, self.number, self.salt, self.previous_end)
        return fields + _CRC.pack(zlib.crc32(fields))

    @classmethod
    def parse(cls, content: bytes) -> FileHeader:
        """Read a header; ValueError says what is wrong with it."""
        if len(content) < FILE_HEADER_BYTES or not content.startswith(_FILE_MAGIC):
            raise ValueError("it does not begin as a log of this program; another server's log belongs elsewhere")
        fields = content[: _FILE_HEADER.size]
        _, version, number, salt, previous_end = _FILE_HEADER.unpack(fields)
        if content[_FILE_HEADER.size :] != _CRC.pack(zlib.crc32(fields)):
            raise ValueError("the checksum of its header differs")
        if version != _VERSION:
            raise ValueError(f"it has version {version}, this program reads version {_VERSION}")
        return cls(number, salt, previous_end)


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The start of a record."""

    kind: int
    flags: int
    lsn: int
    payload_bytes: int
    group: int

    def pack(self, salt: bytes, payload_crc32: int) -> bytes:
        """The 32 bytes on disk, given the CRC-32 of the payload."""
        fields = _RECORD_HEADER.pack(RECORD_MAGIC, self.kind, self.flags, 0, self.lsn, self.payload_bytes, self.group)
        return fields + _CRC.pack(zlib.crc32(salt + fields, payload_crc32))

    @classmethod
    def parse(cls, content: bytes, number: int, offset: int) -> RecordHeader | None:
        """Read the header found at ``offset`` of file ``number``; None when it is none, or belongs elsewhere."""
        if len(content) < RECORD_HEADER_BYTES:
            return None
        magic, kind, flags, _, lsn, payload_bytes, group = _RECORD_HEADER.unpack(content[: _RECORD_HEADER.size])
        here = lsn == lsn_of(number, offset + RECORD_HEADER_BYTES + payload_bytes)
        return cls(kind, flags, lsn, payload_bytes, group) if magic == RECORD_MAGIC and here else None


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A record ready to be written at any place: all but the header, which needs the place."""

    kind: int
    flags: int
    payload: tuple[memoryview | bytes, ...]
    payload_bytes: int
    payload_crc32: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return RECORD_HEADER_BYTES + self.payload_bytes

    def header(self, lsn: int, group: int, salt: bytes) -> bytes:
        """The header for the place that ``lsn`` names."""
        return RecordHeader(self.kind, self.flags, lsn, self.payload_bytes, group).pack(salt, self.payload_crc32)


def encode(record: Record) -> EncodedRecord:
    """Encode ``record``; C-contiguous arrays are not copied, so they must not change until the record is written."""
    if isinstance(record, DeleteRecord):
        return _encode(_DELETE, 0, record.table_ids, record.ids, np.empty((0, 0), np.uint8))
    if record.vectors.ndim != 2 or record.vectors.dtype != np.uint8 or len(record.vectors) != len(record.ids):
        raise ValueError(
            f"vectors are {record.vectors.dtype}{record.vectors.shape}, expected uint8[{len(record.ids)}, n]"
        )
    return _encode(_INSERT, _IDS_GENERATED * record.ids_generated, (record.table_id,), record.ids, record.vectors)


def _encode(
    kind: int,
    flags: int,
    table_ids: tuple[str, ...],
    ids: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.uint8],
) -> EncodedRecord:
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise ValueError(f"ids are {ids.dtype}{ids.shape}, expected int64[n]")
    head = [_PAYLOAD_HEADER.pack(len(ids), vectors.shape[1], len(table_ids))]
    for name in map(str.encode, table_ids):
        head += (_NAME_LENGTH.pack(len(name)), name)
    packed = b"".join(head)
    payload = (packed.ljust(_padded(len(packed)), b"\0"), bytes_of(ids), bytes_of(vectors))
    crc32 = 0
    for part in payload:
        crc32 = zlib.crc32(part, crc32)
    return EncodedRecord(kind, flags, payload, total_bytes(payload), crc32)


def is_intact(header: bytes, salt: bytes, payload: npt.NDArray[np.uint8]) -> bool:
    """Does the checksum in the 32 bytes of a record ``header`` fit it and its ``payload``?"""
    crc32 = zlib.crc32(salt + header[: _RECORD_HEADER.size], zlib.crc32(payload.data))
    return header[_RECORD_HEADER.size :] == _CRC.pack(crc32)


def decode(header: RecordHeader, payload: npt.NDArray[np.uint8]) -> Record:
    """Decode an intact record; its arrays are views of ``payload``. ValueError when the parts do not add up."""
    offset = _PAYLOAD_HEADER.size
    table_ids = []
    try:
        rows, row_bytes, tables = _PAYLOAD_HEADER.unpack_from(payload.data)
        for _ in range(tables):
            (length,) = _NAME_LENGTH.unpack_from(payload.data, offset)
            offset += _NAME_LENGTH.size + length
            table_ids.append(payload[offset - length : offset].tobytes().decode())
    except struct.error as error:
        raise ValueError(f"a payload of {payload.size} bytes that ends in its names") from error
    ids_end = _padded(offset) + 8 * rows
    if payload.size != ids_end + rows * row_bytes:
        raise ValueError(f"a payload of {payload.size} bytes for {rows} rows of {row_bytes} bytes")
    ids = payload[_padded(offset) : ids_end].view(np.int64)
    if header.kind == _INSERT and tables == 1:
        vectors = payload[ids_end:].reshape(rows, row_bytes)
        return InsertRecord(table_ids[0], ids, vectors, bool(header.flags & _IDS_GENERATED))
    if header.kind == _DELETE and not row_bytes:
        return DeleteRecord(tuple(table_ids), ids)
    raise ValueError(f"a record of kind {header.kind} with {tables} tables")


def _padded(size: int) -> int:
    return -(-size // 8) * 8
