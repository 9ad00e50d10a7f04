"""``TopKQueryResult`` as arrays: what a search answers.

On the wire ids and distances are flat, row by row, every row equally wide; the width is not sent. An answer without
any segment to search has no rows at all, however many queries were asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from mishards.errors import Code, MalformedReply
from mishards.topk import TopK
from mishards.wire.protos.milvus_pb2 import TopKQueryResult
from mishards.wire.protos.status_pb2 import Status
from mishards.wire.replies import OK_FIELD, SUCCESS_REASON, ok_status
from mishards.wire.scan import Truncated, read_varint, varint_bytes
from mishards.wire.varints import count_varints, decode_varints, encode_varints

_ROW_NUM, _IDS, _DISTANCES = b"\x10", b"\x1a", b"\x22"
"""Tags of fields 2, 3 and 4."""
_FEW = 100  # results; below this protobuf's objects are faster than numpy's set-up


@dataclass(frozen=True, slots=True, eq=False)
class PackedResult:
    """An answer whose ids are still encoded: ``ids`` uint8[bytes], ``distances`` float32[n], maybe unaligned."""

    code: int
    reason: str
    row_num: int
    width: int
    """Results of each row: as the nodes count, and so at most topk."""
    ids: NDArray[np.uint8]
    distances: NDArray[np.float32]

    def topk(self) -> TopK:
        """Decode the ids. The distances stay a view of the reply.

        Raises:
            MalformedReply: an id is longer than an int64 can be.
        """
        shape = (self.row_num, self.width)
        try:
            ids = decode_varints(self.ids)
        except ValueError as error:
            raise MalformedReply(f"search reply: {error}") from error
        return TopK(ids.reshape(shape), self.distances.reshape(shape))


def encode_result(topk: TopK | None) -> bytes:
    """Encode a successful answer; None is the answer where there was no segment to search."""
    if topk is None or not topk.ids.size:
        return OK_FIELD
    rows = topk.ids.shape[0]
    if topk.ids.size < _FEW:
        message = TopKQueryResult(
            status=ok_status(),
            row_num=rows,
            ids=topk.ids.ravel().tolist(),
            distances=topk.distances.ravel().tolist(),
        )
        return message.SerializeToString()
    return join_result(rows, encode_varints(topk.ids.ravel()), topk.distances)


def encode_results(topk: TopK | None, counts: Sequence[int]) -> list[bytes]:
    """Encode one answer as several: of its first ``counts[0]`` rows, of the next ``counts[1]``, and so on."""
    if len(counts) == 1:
        return [encode_result(topk)]
    if topk is None or not topk.ids.size:
        return [OK_FIELD] * len(counts)
    width = topk.ids.shape[1]
    ids = encode_varints(topk.ids.ravel())
    distances = np.ascontiguousarray(topk.distances, "<f4").tobytes()
    ends = np.cumsum(counts) * width
    id_ends = np.flatnonzero(np.frombuffer(ids, np.int8) >= 0)[ends - 1] + 1
    answers, id_start, start = [], 0, 0
    for rows, id_end, end in zip(counts, id_ends.tolist(), (4 * ends).tolist(), strict=True):
        before_ids, before_distances = _frame(rows, id_end - id_start, end - start)
        answers.append(b"".join((before_ids, ids[id_start:id_end], before_distances, distances[start:end])))
        id_start, start = id_end, end
    return answers


def join_result(rows: int, packed_ids: bytes, distances: NDArray[np.float32]) -> bytes:
    """Encode a successful answer from ids that are encoded already and float32 distances of any shape."""
    packed = np.ascontiguousarray(distances, "<f4").tobytes()
    before_ids, before_distances = _frame(rows, len(packed_ids), len(packed))
    return b"".join((before_ids, packed_ids, before_distances, packed))


@lru_cache(maxsize=256)
def _frame(rows: int, id_bytes: int, distance_bytes: int) -> tuple[bytes, bytes]:
    """What stands before the ids of a successful answer, and before its distances."""
    before_ids = OK_FIELD + _ROW_NUM + varint_bytes(rows) + _IDS + varint_bytes(id_bytes)
    return before_ids, _DISTANCES + varint_bytes(distance_bytes)


def decode_result(reply: bytes) -> tuple[Code | int, int, TopK]:
    """Return the status code of an answer, its ``row_num`` and its rows, as wide as the node made them.

    Raises:
        MalformedReply: no ``TopKQueryResult``, or its rows are not equally wide.
    """
    packed = scan_result(reply)
    code = Code(packed.code) if packed.code in set(Code) else packed.code
    return code, packed.row_num, packed.topk()


def scan_result(reply: bytes) -> PackedResult:
    """Find the parts of an answer without decoding ids.

    Raises:
        MalformedReply: no ``TopKQueryResult``, or its rows are not equally wide.
    """
    try:
        code, reason, rows, ids, distances = _scan(reply) or _parse(reply)
    except (DecodeError, Truncated) as error:
        raise MalformedReply(f"search reply of {len(reply)} bytes is no TopKQueryResult: {error}") from error
    count = count_varints(ids)
    torn = len(ids) > 0 and ids[-1] >= 0x80
    uneven = not count or count % rows != 0 if rows > 0 else bool(rows or count)
    if torn or uneven or count != len(distances):
        raise MalformedReply(f"search reply has {rows} rows, {count} ids and {len(distances)} distances")
    return PackedResult(code, reason, rows, count // rows if rows else 0, ids, distances)


_Fields = tuple[int, str, int, NDArray[np.uint8], NDArray[np.float32]]


def _scan(reply: bytes) -> _Fields | None:
    """Read an answer in the form that every encoder writes: fields by number, lists packed. None if it is another."""
    end = len(reply)
    if end < len(OK_FIELD) or reply[0] != OK_FIELD[0] or reply[1] > 0x7F:
        return None
    at = 2 + reply[1]
    status = Status.FromString(reply[2:at]) if not reply.startswith(OK_FIELD) else None
    if reply[at : at + 1] != _ROW_NUM:
        return None
    rows, at = read_varint(reply, at + 1, end)
    if reply[at : at + 1] != _IDS:
        return None
    id_bytes, ids_at = read_varint(reply, at + 1, end)
    at = ids_at + id_bytes
    if reply[at : at + 1] != _DISTANCES:
        return None
    size, at = read_varint(reply, at + 1, end)
    if at + size != end or size % 4:
        return None
    return (
        status.error_code if status else Code.SUCCESS,
        status.reason if status else SUCCESS_REASON,
        rows if rows < 1 << 63 else rows - (1 << 64),
        np.ndarray(id_bytes, np.uint8, reply, offset=ids_at),
        np.ndarray(size // 4, "<f4", reply, offset=at),
    )


def _parse(reply: bytes) -> _Fields:
    message = TopKQueryResult.FromString(reply)
    ids = encode_varints(np.array(message.ids[:], np.int64))
    distances = np.array(message.distances[:], np.float32)
    return (
        message.status.error_code,
        message.status.reason,
        message.row_num,
        np.frombuffer(ids, np.uint8),
        distances,
    )
