"""What a reader of vectors offers, and the form in which rows leave it.

A source gives its rows in an order that never changes, in blocks of consecutive positions, holding one block in memory.
A row that cannot be used is no error: it is named in its block, and the reader goes on. A reader knows no server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mishards.errors import SourceError

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it stands, counted from 0, and why."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The rows at ``span`` positions from ``first`` on: those that are good as arrays, the others named.

    ``positions`` int64[n] rises; ``vectors`` is float32[n, dim], or uint8[n, dim / 8] for binary metrics; ``ids`` is
    int64[n], never negative, or None where the source has none. ``tag`` is the partition they belong to.
    """

    first: int
    span: int
    positions: Ids
    vectors: Vectors
    ids: Ids | None
    bad: tuple[BadRow, ...] = ()
    tag: str = ""

    def keep(self, chosen: NDArray[np.bool_]) -> Block:
        """The block with some of its good rows only, bool[n]."""
        ids = None if self.ids is None else self.ids[chosen]
        positions, vectors = self.positions[chosen], self.vectors[chosen]
        return Block(self.first, self.span, positions, vectors, ids, self.bad, self.tag)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is to be read."""

    binary: bool = False
    """Vectors are bytes, eight dimensions each, instead of floats."""
    width: int | None = None
    """Values a row has (floats, or bytes); None is as many as the first row has."""
    vectors: str = ""
    """Array, dataset, column or key of the vectors; empty is the format's default."""
    ids: str = ""
    """The same of the ids; a file for formats that hold one array; empty is no ids."""
    any_ids: bool = False
    """Negative ids are no fault. A server takes them, most clients do not."""

    @property
    def dtype(self) -> type[np.generic]:
        """What vectors are made of."""
        return np.uint8 if self.binary else np.float32


class Source(Protocol):
    """An open file of vectors. Belongs to one thread."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What it reads: the file, and that of the ids where it is another."""
        ...

    @property
    def width(self) -> int:
        """Values of a row: floats, or bytes."""
        ...

    @property
    def rows(self) -> int | None:
        """Rows in all, bad ones too; None where only reading tells."""
        ...

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """The blocks of ``rows`` positions each (the last may be shorter), without the first ``skip`` of them.

        Raises:
            SourceError: the file is damaged so that where the next row begins is unknown.
        """
        ...


@dataclass(slots=True)
class RowList:
    """Collects rows that come one by one into a block."""

    options: ReadOptions
    width: int
    first: int
    span: int = 0
    _positions: list[int] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _bad: list[BadRow] = field(default_factory=list)

    def add(self, values: Any, row_id: Any = None, place: str = "") -> None:
        """Add the next row; one that does not fit becomes a bad row, whose reason begins with ``place``."""
        try:
            row = as_row(values, self.width, self.options)
            if self.options.ids:
                self._ids.append(as_id(row_id))
        except (ValueError, TypeError, OverflowError) as error:
            self.refuse(f"{place}{error}")
            return
        self._positions.append(self.first + self.span)
        self._values.append(row)
        self.span += 1

    def refuse(self, reason: str) -> None:
        """Add the next row as a bad one."""
        self._bad.append(BadRow(self.first + self.span, reason))
        self.span += 1

    def block(self) -> Block:
        """What was added."""
        vectors = np.array(self._values, self.options.dtype).reshape(-1, self.width)
        ids = np.array(self._ids, np.int64) if self.options.ids else None
        block = Block(self.first, self.span, np.array(self._positions, np.int64), vectors, ids, tuple(self._bad))
        return block if self.options.binary else without_bad_floats(block)


def as_row(values: Any, width: int, options: ReadOptions) -> NDArray[np.generic]:
    """Return a sequence of numbers as a row. Raises ValueError or TypeError where it is none of this width."""
    row = np.asarray(list(map(int if options.binary else float, values)))
    if row.ndim != 1 or not len(row) or (width and len(row) != width):
        raise ValueError(f"it has {len(row)} values, expected {width or 'at least one'}")
    if options.binary:
        if ((row < 0) | (row > 255)).any():
            raise ValueError("a value is no byte: outside 0 … 255")
        return row.astype(np.uint8)
    with np.errstate(over="ignore"):
        return row.astype(np.float32)


def as_id(value: Any) -> int:
    """Return an id. Raises ValueError where it is none."""
    try:
        number = int(value) if isinstance(value, str | int | np.integer) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 63:
        raise ValueError(f"its id is {value!r}, expected an integer of 0 … 2**63 - 1")
    return number


def array_block(first: int, values: NDArray[Any], ids: NDArray[Any] | None, options: ReadOptions) -> Block:
    """A block of an array of rows of one width and of as many ids."""
    positions = np.arange(first, first + len(values), dtype=np.int64)
    if ids is not None and ids.dtype == np.uint64:
        ids = np.where(ids > np.uint64(2**63 - 1), np.uint64(2**64 - 1), ids).astype(np.int64)  # too large: negative
    numbers = None if ids is None else ids.astype(np.int64)
    block = Block(first, len(values), positions, _converted(values, options), numbers)
    if numbers is not None and not options.any_ids and (numbers < 0).any():
        block = _without(block, numbers >= 0, "its id is negative or too large")
    return block if options.binary else without_bad_floats(block)


def _converted(values: NDArray[Any], options: ReadOptions) -> Vectors:
    if not options.binary:
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    if values.dtype == np.bool_:
        return np.packbits(values, axis=1)
    return values.astype(np.uint8)


def check_array(shape: tuple[int, ...], dtype: np.dtype[Any], what: str, options: ReadOptions) -> int:
    """Check that an array can hold vectors; return the values a row will have.

    Raises:
        SourceError: it cannot.
    """
    if len(shape) != 2:
        raise SourceError(f"{what} has {len(shape)} dimensions, expected 2: rows and their values")
    kinds = ("u1", "b1") if options.binary else ("f", "i", "u")
    fits = dtype.str[1:] in kinds if options.binary else dtype.kind in kinds
    if not fits:
        expected = "uint8 or bool" if options.binary else "numbers"
        raise SourceError(f"{what} has elements of type {dtype}, expected {expected}")
    width = -(-shape[1] // 8) if options.binary and dtype == np.bool_ else shape[1]
    return check_width(width, what, options)


def check_ids(shape: tuple[int, ...], dtype: np.dtype[Any], what: str, rows: int) -> None:
    """Check that an array can hold the ids of so many rows.

    Raises:
        SourceError: it cannot.
    """
    if len(shape) != 1 or dtype.kind not in "iu" or shape[0] != rows:
        raise SourceError(f"{what} has shape {shape} and type {dtype}, expected {rows} integers")


def check_width(width: int, what: str, options: ReadOptions) -> int:
    """Check how many values a row has, and return it.

    Raises:
        SourceError: not as many as the collection takes.
    """
    unit = "bytes" if options.binary else "values"
    if options.width is not None and width != options.width:
        raise SourceError(f"{what} has rows of {width} {unit}, the collection takes {options.width}")
    if not width:
        raise SourceError(f"{what} has rows without {unit}")
    return width


def without_bad_floats(block: Block) -> Block:
    """The block without rows that have a value which is not finite; they are named."""
    good: NDArray[np.bool_] = np.isfinite(block.vectors).all(axis=1).reshape(-1)
    return block if good.all() else _without(block, good, "a value is NaN, infinite or too large for float32")


def _without(block: Block, good: NDArray[np.bool_], reason: str) -> Block:
    bad = [*block.bad, *(BadRow(position, reason) for position in block.positions[~good].tolist())]
    kept = block.keep(good)
    ordered = tuple(sorted(bad, key=lambda row: row.position))
    return Block(kept.first, kept.span, kept.positions, kept.vectors, kept.ids, ordered, kept.tag)
