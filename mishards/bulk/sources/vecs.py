"""``.fvecs``, ``.ivecs`` and ``.bvecs``: each row is its length, int32, and so many float32, int32 or uint8.

Little-endian, without a header (http://corpus-texmex.irisa.fr/). Rows may have lengths of their own, so that a file is
read from its beginning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mishards.bulk.sources.api import BadRow, Block, ReadOptions, array_block, check_array
from mishards.bulk.sources.arrays import NpySidecar
from mishards.errors import SourceError
from mishards.wire.limits import MAX_DIMENSION

_TYPES: dict[str, np.dtype[Any]] = {".fvecs": np.dtype("<f4"), ".ivecs": np.dtype("<i4"), ".bvecs": np.dtype("u1")}
_LENGTH = struct.Struct("<i")


class VecsSource:
    """A file of one of the three formats; ids in a ``.npy``."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self._dtype = _TYPES[path.suffix]
        self._ids = NpySidecar(Path(options.ids)) if options.ids else None
        self.files = (path,) if self._ids is None else (path, self._ids.path)
        with path.open("rb") as stream:
            length = self._length(stream.read(_LENGTH.size), 0)
        values = length if options.width is None or not length else options.width
        self.width = check_array((1, values), self._dtype, str(path), options)
        self._record = _LENGTH.size + self._dtype.itemsize * values
        whole, rest = divmod(path.stat().st_size, self._record)
        self.rows: int | None = None if rest else whole

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        first = 0
        with self._path.open("rb") as stream:
            while span := (parts := self._next(stream, first, rows))[0]:
                if skip:
                    skip -= 1
                else:
                    yield self._block(first, *parts)
                first += span

    def _block(self, first: int, span: int, values: NDArray[Any], bad: list[BadRow]) -> Block:
        ids = None if self._ids is None else self._ids.slice(first, first + span)
        if not bad:
            return array_block(first, values, ids, self._options)
        places = np.delete(np.arange(span), [row.position - first for row in bad])
        found = array_block(0, values, None if ids is None else ids[places], self._options)
        inner = [BadRow(first + int(places[row.position]), row.reason) for row in found.bad]
        every = tuple(sorted([*bad, *inner], key=lambda row: row.position))
        return Block(first, span, first + places[found.positions], found.vectors, found.ids, every)

    def _next(self, stream: IO[bytes], first: int, rows: int) -> tuple[int, NDArray[Any], list[BadRow]]:
        """The next ``rows`` rows: how many there were, the values of those of the right length, and the others."""
        pieces, bad, span = [np.empty((0, self._record - _LENGTH.size), np.uint8)], list[BadRow](), 0
        while span < rows:
            begin = stream.tell()
            data = stream.read((rows - span) * self._record)
            whole = np.frombuffer(data, np.uint8, len(data) // self._record * self._record).reshape(-1, self._record)
            odd = (whole[:, : _LENGTH.size] != np.frombuffer(self._head, np.uint8)).any(axis=1)
            good = int(odd.argmax()) if odd.any() else len(whole)
            pieces.append(whole[:good, _LENGTH.size :])
            span += good
            if span == rows or good * self._record == len(data):
                stream.seek(begin + good * self._record)
                break
            reason = self._odd(stream, begin + good * self._record, first + span)
            bad.append(BadRow(first + span, reason))
            span += 1
        return span, np.concatenate(pieces).view(self._dtype), bad

    @property
    def _head(self) -> bytes:
        return _LENGTH.pack((self._record - _LENGTH.size) // self._dtype.itemsize)

    def _odd(self, stream: IO[bytes], at: int, position: int) -> str:
        """Go behind a row that is not like the others; say what is wrong with it."""
        stream.seek(at)
        head = stream.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return "the file ends inside it"
        length = self._length(head, position)
        end = stream.tell() + length * self._dtype.itemsize
        if end > self._path.stat().st_size:
            stream.seek(0, 2)
            return "the file ends inside it"
        stream.seek(end)
        return f"it has {length} values, expected {(self._record - _LENGTH.size) // self._dtype.itemsize}"

    def _length(self, head: bytes, position: int) -> int:
        length = int(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else 0
        if not 1 <= length <= MAX_DIMENSION * 8:
            raise SourceError(f"{self._path} is damaged: row {position} says that it has {length} values")
        return length
