"""Vectors and ids between JSON and the wire, as arrays: no Python code runs once a value.

JSON does not say whether ``[1, 2]`` are floats or bytes; the metric of the collection does. Whether vectors fit the
collection is the handler's business: rows of different lengths, none, or empty ones travel as they are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mishards.rest.errors import illegal
from mishards.wire.params import MAX_INT64, MIN_INT64
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.results import decode_result
from mishards.wire.vectors import Floats, encode_rows

_NUMBER_KINDS = "iuf"
_DECIMALS = re.compile(r"-?[0-9]+(?:,-?[0-9]+)*")
_HIT = '{"id":"%d","distance":"%.6f"}'
_HITS_AT_ONCE = 8192  # formatted by one call, which holds the interpreter for a millisecond or two


@dataclass(frozen=True, slots=True, eq=False)
class JsonRows:
    """The vectors of a request: float32[n, dim] in blocks, where rows of different lengths stand in different ones."""

    blocks: tuple[Floats, ...]
    may_be_bytes: bool
    """Are there values, all of them whole numbers?"""

    @classmethod
    def of(cls, rows: Any) -> JsonRows:
        """Read an array of arrays of numbers.

        Raises:
            BadHttpRequest: it is something else.
        """
        if not isinstance(rows, list):
            raise illegal("Field 'vectors' must be an array.")
        if not rows:
            return cls((), may_be_bytes=False)
        try:
            arrays = [_numbers(np.asarray(rows), 2)]
        except ValueError:  # rows of different lengths
            arrays = [_numbers(_row(row), 1)[np.newaxis] for row in rows]
        kinds = {array.dtype.kind for array in arrays if array.size}
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and the handler refuses it
            blocks = tuple(array.astype(np.float32) for array in arrays)
        return cls(blocks, may_be_bytes=bool(kinds) and "f" not in kinds)

    @classmethod
    def joined(cls, parts: Sequence[JsonRows]) -> JsonRows:
        """Put parts that follow each other behind one another."""
        filled = [part.may_be_bytes for part in parts if part.size]
        blocks = tuple(block for part in parts for block in part.blocks)
        return cls(blocks, may_be_bytes=bool(filled) and all(filled))

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return sum(block.nbytes for block in self.blocks)

    def encoded(self, tag: bytes, *, binary: bool) -> bytes:
        """Encode them as the ``RowRecord`` of the field with this tag.

        Raises:
            BadHttpRequest: a value of a binary vector is no byte.
        """
        return b"".join(encode_rows(tag, _bytes(block) if binary else block) for block in self.blocks)


def _row(row: Any) -> NDArray[Any]:
    if not isinstance(row, list):
        raise _no_vectors()
    try:
        return np.asarray(row)
    except ValueError as error:
        raise _no_vectors() from error


def _numbers(values: NDArray[Any], dimensions: int) -> NDArray[Any]:
    if values.ndim != dimensions or values.dtype.kind not in _NUMBER_KINDS:
        raise _no_vectors()
    return values


def _no_vectors() -> Exception:
    return illegal("Field 'vectors' must be an array of arrays of numbers.")


def _bytes(block: Floats) -> NDArray[np.uint8]:
    if block.size and not 0 <= block.min() <= block.max() <= 255:
        raise illegal("A binary vector must be an array of bytes, integers from 0 to 255.")
    return block.astype(np.uint8)


def read_ids(values: Sequence[Any]) -> list[int]:
    """Read ids, decimal texts or integers.

    Raises:
        BadHttpRequest: one is something else, or larger than an int64.
    """
    if not values:
        return []
    if set(map(type, values)) <= {str, int} and _DECIMALS.fullmatch(",".join(map(str, values))):
        with contextlib.suppress(ValueError):  # a text that holds several numbers
            ids = list(map(int, values))
            if min(ids) >= MIN_INT64 and max(ids) <= MAX_INT64:
                return ids
    raise illegal("Field 'ids' must be an array of ids: integers of 64 bits, as decimal strings.")


def vectors_json(ids: Sequence[int], reply: bytes) -> list[dict[str, Any]]:
    """Return the vectors of an encoded ``VectorsData`` with their ids, for ``orjson``; a missing one is empty."""
    records = pb.VectorsData.FromString(reply).vectors_data
    return [{"id": str(number), "vector": _values(record)} for number, record in zip(ids, records, strict=False)]


def _values(record: pb.RowRecord) -> NDArray[np.float32] | list[int]:
    if record.binary_data:
        return list(record.binary_data)
    return np.fromiter(record.float_data, np.float32, len(record.float_data))


def hits_json(reply: bytes) -> bytes:
    """Encode the answer of a search, an encoded ``TopKQueryResult``, with what pads its rows.

    Raises:
        MalformedReply: the reply is none.
    """
    _code, rows, topk = decode_result(reply)
    width = topk.ids.shape[1] if topk.ids.size else 0
    row = f"[{','.join([_HIT] * width)}]"
    step = max(1, _HITS_AT_ONCE // max(1, width))
    parts = []
    for start in range(0, rows, step):
        ids, distances = topk.ids[start : start + step], topk.distances[start : start + step]
        cells: list[float] = [0.0] * (2 * ids.size)
        cells[::2], cells[1::2] = ids.ravel().tolist(), distances.ravel().tolist()
        parts.append(",".join([row] * len(ids)) % tuple(cells))
    return f'{{"num":{rows},"result":[{",".join(parts)}]}}'.encode()
