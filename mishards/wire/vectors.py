"""Vectors on the wire as arrays: the rows of a search or an insert, the ids and vectors of a reply.

A ``RowRecord`` holds floats or bytes. Rows of one length that are written the way every encoder writes them are not
parsed: their array is a view of the request, one header apart row from row. Everything else goes through protobuf.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from mishards.errors import IllegalDimension, IllegalRows, MalformedRequest
from mishards.kinds import MetricType
from mishards.wire.protos.milvus_pb2 import InsertParam, RowRecord
from mishards.wire.replies import OK_FIELD
from mishards.wire.scan import LENGTH_DELIMITED, Run, Truncated, read_varint, runs, varint_bytes
from mishards.wire.varints import decode_varints, encode_varints

NO_ROWS: Final = "The vector array is empty. Make sure you have entered vector records."
WRONG_DIMENSION: Final = "The vector dimension must be equal to the collection dimension."

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_FLOATS, _BYTES = b"\x0a", b"\x12"  # tags of float_data, packed, and binary_data
_INSERT_ROWS, _INSERT_IDS = 2, 3
_MAX_PARSED_ROWS: Final = 1 << 20
"""Rows that are read one by one; many more are no honest request, and would take seconds."""
_FIELD_2: Final = b"\x12"
_FLOAT32: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The encoded ``RowRecord`` of a request: where they stand in ``buffer``."""

    buffer: bytes
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return sum(run.records for run in self.runs)

    def spans(self) -> Iterable[bytes]:
        """Copy the encoded records, one by one."""
        return (self.buffer[start : start + run.size] for run in self.runs for start in run.starts())


@dataclass(frozen=True, slots=True, eq=False)
class InsertEnvelope:
    """An ``InsertParam`` whose rows stay encoded. ``ids`` is int64[n], empty where the server is to make them."""

    collection_name: str
    partition_tag: str
    ids: NDArray[np.int64]
    rows: Rows

    @classmethod
    def scan(cls, raw: bytes) -> InsertEnvelope:
        """Read everything but the rows.

        Raises:
            MalformedRequest: the bytes are no ``InsertParam``.
        """
        rows, rest = split_rows(raw, 0, len(raw), _INSERT_ROWS)
        packed, others = split_rows(rest, 0, len(rest), _INSERT_IDS)
        try:
            message = InsertParam.FromString(others)
            if len(packed) == 1 and not message.row_id_array:
                (span,) = packed.spans()
                ids = decode_varints(np.frombuffer(span, np.uint8))
            else:  # none, or in several pieces
                ids = np.array(InsertParam.FromString(rest).row_id_array[:], np.int64)
        except (DecodeError, ValueError) as error:
            raise MalformedRequest(f"request of {len(raw)} bytes is no InsertParam: {error}") from error
        return cls(message.collection_name, message.partition_tag, ids, rows)


def split_rows(buffer: bytes, begin: int, end: int, number: int) -> tuple[Rows, bytes]:
    """Part the records of field ``number`` from the rest of the message in ``buffer[begin:end]``.

    Raises:
        MalformedRequest: the bytes are no protobuf message.
    """
    records, rest = [], []
    try:
        for run in runs(buffer, begin, end):
            if run.number == number and run.wire_type == LENGTH_DELIMITED:
                records.append(run)
            else:
                rest.append(buffer[run.begin : run.end])
    except Truncated as error:
        raise MalformedRequest(f"request of {end - begin} bytes is no protobuf message: {error}") from error
    return Rows(buffer, tuple(records)), b"".join(rest)


def check_rows(rows: Rows) -> None:
    """Check that some row has data.

    Raises:
        IllegalRows: none has.
        MalformedRequest: a row is no ``RowRecord``.
    """
    if _uniform(rows) is None:
        _parse(rows)


def vector_rows(rows: Rows, dimension: int, metric: MetricType) -> Floats | Bytes:
    """Return the rows as vectors of the metric: ``float_rows`` or ``binary_rows``."""
    return binary_rows(rows, dimension) if metric.is_binary else float_rows(rows, dimension)


def float_rows(rows: Rows, dimension: int) -> Floats:
    """Return the rows as float32[n, dimension], a view of the request where possible: strided, maybe unaligned.

    Raises:
        IllegalRows: no row has data, the values do not divide by the rows, or one is NaN or infinite.
        IllegalDimension: a row has another length, or there are bytes in place of floats.
        MalformedRequest: a row is no ``RowRecord``.
    """
    grid = float_grid(rows)
    if grid is not None and grid.dimension == dimension:
        vectors = grid.view(rows.buffer)
    else:
        records = _parse(rows)
        _check_lengths([len(record.float_data) for record in records], dimension)
        vectors = np.array([record.float_data[:] for record in records], np.float32)
    check_finite(vectors)
    return vectors


@dataclass(frozen=True, slots=True, eq=False)
class FloatGrid:
    """Where the floats of rows stand that are all of one length, with equal bytes between them."""

    start: int
    """Offset of the first value."""
    stride: int
    records: int
    dimension: int
    head: NDArray[np.uint8]
    """What stands before the values of each row."""

    def fits(self, request: bytes) -> bool:
        """Has a request, as long as the one that this was found in, the same bytes between its first and last row?"""
        if self.records == 1:
            return True
        width = len(self.head)
        shape, offset = (self.records - 1, width), self.start - width + self.stride
        heads = np.ndarray(shape, np.uint8, request, offset=offset, strides=(self.stride, 1))
        return bool((heads == self.head).all())

    def view(self, request: bytes) -> Floats:
        """The values, float32[records, dimension], strided and maybe unaligned."""
        shape, strides = (self.records, self.dimension), (self.stride, 4)
        values: Floats = np.ndarray(shape, _FLOAT32, request, offset=self.start, strides=strides)
        return values


def float_grid(rows: Rows) -> FloatGrid | None:
    """Where the floats of these rows stand; None where the rows are not alike, or hold something else."""
    uniform = _uniform(rows)
    if uniform is None or uniform.tag != _FLOATS or uniform.size % 4:
        return None
    begin = rows.runs[0].begin
    head = np.frombuffer(rows.buffer, np.uint8, uniform.start - begin, begin)
    return FloatGrid(uniform.start, uniform.stride, uniform.records, uniform.size // 4, head)


def binary_rows(rows: Rows, dimension: int) -> Bytes:
    """Return the rows as uint8[n, dimension / 8], a view of the request where possible.

    Raises:
        IllegalRows: no row has data, or the bytes do not divide by the rows.
        IllegalDimension: a row has another length, or there are floats in place of bytes.
        MalformedRequest: a row is no ``RowRecord``.
    """
    width = dimension // 8
    uniform = _uniform(rows)
    if uniform is not None and uniform.tag == _BYTES and uniform.size == width:
        shape, strides = (uniform.records, width), (uniform.stride, 1)
        vectors: Bytes = np.ndarray(shape, np.uint8, rows.buffer, offset=uniform.start, strides=strides)
        return vectors
    records = _parse(rows)
    if any(record.float_data for record in records):
        raise IllegalDimension(WRONG_DIMENSION)  # where there are floats, only they are read
    _check_lengths([len(record.binary_data) for record in records], width)
    return np.frombuffer(b"".join(record.binary_data for record in records), np.uint8).reshape(-1, width)


def encode_rows(tag: bytes, vectors: Floats | Bytes) -> bytes:
    """Encode float32[n, dim] or uint8[n, bytes] as the records of the field with this tag."""
    data = np.ascontiguousarray(vectors, "<f4").view(np.uint8) if vectors.dtype != np.uint8 else vectors
    inner = (_BYTES if vectors.dtype == np.uint8 else _FLOATS) + varint_bytes(data.shape[1])
    header = tag + varint_bytes(len(inner) + data.shape[1]) + inner
    table = np.empty((len(data), len(header) + data.shape[1]), np.uint8)
    table[:, : len(header)] = np.frombuffer(header, np.uint8)
    table[:, len(header) :] = data
    return table.tobytes()


def encode_ids(ids: NDArray[np.int64]) -> bytes:
    """Encode a successful ``VectorIds`` of int64[n]."""
    if not len(ids):
        return OK_FIELD
    packed = encode_varints(ids)
    return b"".join((OK_FIELD, _FIELD_2, varint_bytes(len(packed)), packed))


def encode_vectors(vectors: Floats | Bytes, found: NDArray[np.bool_]) -> bytes:
    """Encode a successful ``VectorsData``: vectors[n, :] in order, an empty record where ``found`` bool[n] is false."""
    if found.all():
        return OK_FIELD + encode_rows(_FIELD_2, vectors)
    empty = _FIELD_2 + b"\x00"
    records = (
        encode_rows(_FIELD_2, vectors[at : at + 1]) if there else empty for at, there in enumerate(found.tolist())
    )
    return OK_FIELD + b"".join(records)


@dataclass(frozen=True, slots=True)
class _Uniform:
    """Rows of one shape: the tag of their only field, where its first value starts, its bytes, the row distance."""

    tag: bytes
    start: int
    size: int
    stride: int
    records: int


def _uniform(rows: Rows) -> _Uniform | None:
    """Read rows that all hold one field with equally much data. None where they are different or have no data."""
    if len(rows.runs) != 1:
        return None
    run, buffer = rows.runs[0], rows.buffer
    stop = run.start + run.size
    try:
        size, start = read_varint(buffer, run.start + 1, stop)
    except Truncated:
        return None
    tag = buffer[run.start : run.start + 1]
    if tag not in (_FLOATS, _BYTES) or not size or start + size != stop:
        return None
    if run.records > 1:
        width = start - run.start
        heads = np.ndarray((run.records, width), np.uint8, buffer, offset=run.start, strides=(run.stride, 1))
        if (heads != heads[0]).any():
            return None
    return _Uniform(tag, start, size, run.stride, run.records)


def _parse(rows: Rows) -> list[RowRecord]:
    if not any(run.size for run in rows.runs):
        raise IllegalRows(NO_ROWS)
    if len(rows) > _MAX_PARSED_ROWS:
        raise MalformedRequest(f"{len(rows)} vectors are not all packed and of one length; send at most 2**20 such")
    try:
        records = [RowRecord.FromString(span) for span in rows.spans()]
    except DecodeError as error:
        raise MalformedRequest(f"a row is no RowRecord: {error}") from error
    if not any(record.float_data or record.binary_data for record in records):
        raise IllegalRows(NO_ROWS)
    return records


def _check_lengths(lengths: list[int], wanted: int) -> None:
    total = sum(lengths)
    if total % len(lengths):
        raise IllegalRows(WRONG_DIMENSION)
    if any(length != wanted for length in lengths):
        raise IllegalDimension(WRONG_DIMENSION)


def check_finite(vectors: Floats | Bytes) -> None:
    """Check that the values of all vectors are numbers. Raises IllegalRows, which names the first one that is not."""
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise IllegalRows(f"Vector {row} has a value that is NaN or infinite. Make sure that all values are finite.")
