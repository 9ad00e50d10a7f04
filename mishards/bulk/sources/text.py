"""CSV and JSON lines, read line by line.

CSV: a number a column, perhaps a line of names first; the ids are a column by name, or by number from 1 where there are
no names. JSON lines: an array of numbers a line, or an object with one (key ``vector``) and perhaps an id. Blank lines
do not count. Binary vectors are arrays of bytes 0 … 255.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mishards.bulk.sources.api import Block, ReadOptions, RowList, as_row
from mishards.errors import SourceError

_VECTOR_KEY = "vector"
_Row = tuple[Any, Any]
"""Values and id, as they were found."""


class _TextSource:
    """Rows that are found one by one: subclasses say how."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self.files = (path,)
        self.rows: int | None = None
        self.width = options.width or self._first_width()

    def _first_width(self) -> int:
        for _, fields in self._lines():
            with contextlib.suppress(ValueError, TypeError, OverflowError):  # the first row that can be read decides
                return len(as_row(self._row(fields)[0], 0, self._options))
        raise SourceError(f"{self._path} has no row that could be a vector")

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        passed = skip * rows
        found = RowList(self._options, self.width, passed)
        for line, fields in self._lines():
            if passed:
                passed -= 1
                continue
            try:
                values, row_id = self._row(fields)
            except (ValueError, TypeError) as error:
                found.refuse(f"line {line}: {error}")
            else:
                found.add(values, row_id, f"line {line}: ")
            if found.span == rows:
                yield found.block()
                found = RowList(self._options, self.width, found.first + found.span)
        if found.span:
            yield found.block()

    def _lines(self) -> Iterator[tuple[int, Any]]:
        """Line number, from 1, and content of every row."""
        raise NotImplementedError

    def _row(self, fields: Any) -> _Row:
        """Values and id of a row. Raises ValueError or TypeError where it is none."""
        raise NotImplementedError


class CsvSource(_TextSource):
    """Comma-separated values, or tab-separated ones where the file is named ``.tsv``."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._delimiter = "\t" if path.suffix == ".tsv" else ","
        self._names = _header(path, self._delimiter)
        self._id_column = _column(path, self._names, options.ids)
        super().__init__(path, options)

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self._path.open(newline="", encoding="utf-8", errors="replace") as stream:
            reader = csv.reader(stream, delimiter=self._delimiter)
            header = self._names is not None
            try:
                for fields in reader:
                    if fields and not header:
                        yield reader.line_num, fields
                    header = header and not fields
            except csv.Error as error:
                raise SourceError(f"{self._path} is damaged at line {reader.line_num}: {error}") from error

    def _row(self, fields: Any) -> _Row:
        if self._id_column is None:
            return fields, None
        if self._id_column >= len(fields):
            raise ValueError(f"it has {len(fields)} columns, none for the id")
        rest = fields[: self._id_column] + fields[self._id_column + 1 :]
        return rest, fields[self._id_column].strip()


def _header(path: Path, delimiter: str) -> list[str] | None:
    """The names of the columns, where the first line that is not blank has no number in it."""
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        first = next(filter(None, csv.reader(stream, delimiter=delimiter)), [])
    return None if not first or any(map(_is_number, first)) else [name.strip() for name in first]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(path: Path, names: list[str] | None, wanted: str) -> int | None:
    if not wanted:
        return None
    if names is not None and wanted in names:
        return names.index(wanted)
    if names is None and wanted.isdecimal() and int(wanted) > 0:
        return int(wanted) - 1
    known = f"it has {', '.join(names)}" if names else "it has no names: give its number, from 1"
    raise SourceError(f"{path} has no column {wanted!r}; {known}")


class JsonLinesSource(_TextSource):
    """An array or an object a line."""

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self._path.open(encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if text := line.strip():
                    yield number, text

    def _row(self, fields: Any) -> _Row:
        try:
            found = json.loads(fields)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        key = self._options.vectors or _VECTOR_KEY
        if isinstance(found, dict):
            if key not in found:
                raise ValueError(f"it has no key {key!r}")
            values, row_id = found[key], found.get(self._options.ids) if self._options.ids else None
        else:
            values, row_id = found, None
        if not isinstance(values, list):
            raise TypeError("it is no array of numbers")
        return values, row_id
