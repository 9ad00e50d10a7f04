"""Parquet: a column of lists of numbers, or of bytes for binary vectors, and a column of ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mishards.bulk.sources.api import Block, ReadOptions, RowList, array_block, check_width
from mishards.bulk.sources.extra import needed
from mishards.errors import SourceError

_PEEKED_ROWS = 64
"""So many rows are read to learn how wide a row is; if none of them has any value, the width must be known."""


class ParquetSource:
    """One file, read in batches of records."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self.files = (path,)
        with _opened(path) as file:
            schema = file.schema_arrow
            self._column = options.vectors or _only_column(schema, options, path)
            self._columns = [self._column, *([options.ids] if options.ids else [])]
            for column in self._columns:
                if column not in schema.names:
                    raise SourceError(f"{path} has no column {column!r}; it has {', '.join(schema.names)}")
            self.rows: int | None = file.metadata.num_rows
            self.width = check_width(options.width or self._peeked_width(file), str(path), options)

    def _peeked_width(self, file: Any) -> int:
        for batch in file.iter_batches(_PEEKED_ROWS, columns=[self._column]):
            return max((len(row) for row in batch.column(0).to_pylist() if row), default=0)
        return 0

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        first = 0
        errors = needed("pyarrow").ArrowException
        with _opened(self._path) as file:
            try:
                for batch in _of_size(file.iter_batches(rows, columns=self._columns), rows):
                    if skip:
                        skip -= 1
                    else:
                        yield self._block(first, batch)
                    first += batch.num_rows
            except errors as error:
                raise SourceError(f"{self._path} is damaged behind row {first}: {error}") from error

    def _block(self, first: int, batch: Any) -> Block:
        column = batch.column(self._column)
        ids = batch.column(self._options.ids) if self._options.ids else None
        values = None if self._options.binary else _table(column, self.width)
        if values is not None and (ids is None or (not ids.null_count and _is_integer(ids))):
            return array_block(first, values, None if ids is None else ids.to_numpy(), self._options)
        rows = RowList(self._options, self.width, first)
        for row, row_id in zip(column.to_pylist(), ids.to_pylist() if ids else [None] * len(column), strict=True):
            if row is None:
                rows.refuse("it has no vector")
            else:
                rows.add(row, row_id)
        return rows.block()


def _table(column: Any, width: int) -> Any:
    """A column of lists of one length as an array [n, width]; None where it is another."""
    if column.null_count or not hasattr(column, "flatten"):
        return None
    flat = column.flatten()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False) if len(column) else np.empty(0)
    if flat.null_count or (lengths != width).any():
        return None
    values = flat.to_numpy(zero_copy_only=False)
    return values.reshape(-1, width) if values.dtype.kind in "fiu" else None


def _is_integer(ids: Any) -> bool:
    return bool(needed("pyarrow.types").is_integer(ids.type))


def _of_size(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Batches of exactly ``rows`` rows, the last shorter; the library may cut them at row groups."""
    arrow = needed("pyarrow")
    waiting: list[Any] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            joined = arrow.Table.from_batches(waiting).combine_chunks()
            whole, rest = joined.slice(0, rows), joined.slice(rows)
            yield whole.to_batches()[0]
            waiting = rest.to_batches()
            count -= rows
    if count:
        yield arrow.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def _opened(path: Path) -> Any:
    parquet = needed("pyarrow.parquet")
    errors = needed("pyarrow").ArrowException
    try:
        return parquet.ParquetFile(path)
    except errors as error:
        raise SourceError(f"{path} is no Parquet file: {error}") from error


def _only_column(schema: Any, options: ReadOptions, path: Path) -> str:
    types = needed("pyarrow.types")
    kinds = [types.is_list, types.is_large_list, types.is_fixed_size_list]
    if options.binary:
        kinds += [types.is_binary, types.is_fixed_size_binary]
    names = [field.name for field in schema if any(fits(field.type) for fits in kinds)]
    if len(names) != 1:
        raise SourceError(f"{path} has {len(names)} columns that could be vectors; name one with --vectors")
    return str(names[0])
