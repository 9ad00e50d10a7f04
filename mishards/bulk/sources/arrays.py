"""NumPy's ``.npy`` and ``.npz``.

A ``.npy`` is mapped anew for each block, so that no more than a block stays in memory. A member of a ``.npz`` is read
as a stream. Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mishards.bulk.sources.api import Block, ReadOptions, array_block, check_array, check_ids
from mishards.errors import SourceError


class NpySource:
    """One array in a ``.npy``; ids in another."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self._ids = Path(options.ids) if options.ids else None
        vectors = _mapped(path)
        self.width = check_array(vectors.shape, vectors.dtype, str(path), options)
        self.rows: int | None = len(vectors)
        if self._ids is not None:
            ids = _mapped(self._ids)
            check_ids(ids.shape, ids.dtype, str(self._ids), len(vectors))
        self.files = (path,) if self._ids is None else (path, self._ids)

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        for first in range(skip * rows, self.rows or 0, rows):
            values = np.array(_mapped(self._path)[first : first + rows])
            ids = None if self._ids is None else np.array(_mapped(self._ids)[first : first + rows])
            yield array_block(first, values, ids, self._options)


class NpySidecar:
    """The ids of a file that has no room for them: a ``.npy`` of integers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ids = _mapped(path)
        self.rows = len(ids)
        check_ids(ids.shape, ids.dtype, str(path), self.rows)

    def slice(self, first: int, stop: int) -> NDArray[Any]:
        """The ids at these positions.

        Raises:
            SourceError: there are not so many.
        """
        if stop > self.rows:
            raise SourceError(f"{self.path} has {self.rows} ids, fewer than there are vectors")
        return np.array(_mapped(self.path)[first:stop])


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SourceError(f"{path} is no .npy of numbers, or is cut short: {error}") from error
    if not isinstance(array, np.ndarray):
        raise SourceError(f"{path} is an archive, expected one array")
    return array


class NpzSource:
    """An array of vectors in a ``.npz``, and one of ids."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self.files = (path,)
        with _archive(path) as archive:
            self._member = options.vectors or _only_table(archive, path)
            with _Member(archive, self._member, path) as vectors:
                self.width = check_array(vectors.shape, vectors.dtype, f"{path}, array {self._member}", options)
                self.rows: int | None = vectors.shape[0]
            if options.ids:
                with _Member(archive, options.ids, path) as ids:
                    check_ids(ids.shape, ids.dtype, f"{path}, array {options.ids}", self.rows)

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        first, total = skip * rows, self.rows or 0
        with _archive(self._path) as archive, _Member(archive, self._member, self._path) as vectors:
            ids = _Member(archive, self._options.ids, self._path) if self._options.ids else None
            try:
                for member in filter(None, (vectors, ids)):
                    member.skip(min(first, total))
                for at in range(first, total, rows):
                    count = min(rows, total - at)
                    yield array_block(at, vectors.take(count), None if ids is None else ids.take(count), self._options)
            finally:
                if ids is not None:
                    ids.close()


class _Member:
    """An array of an archive, read row by row from its beginning."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        self._what = f"{path}, array {name}"
        try:
            self._stream: IO[bytes] = archive.open(f"{name}.npy")
        except KeyError:
            names = ", ".join(_names(archive)) or "none"
            raise SourceError(f"{path} has no array {name!r}; it has {names}") from None
        try:
            version = np.lib.format.read_magic(self._stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, by_columns, self.dtype = read(self._stream)
        except ValueError as error:
            raise SourceError(f"{self._what} cannot be read: {error}") from error
        if self.dtype.hasobject or (by_columns and len(self.shape) > 1):
            raise SourceError(f"{self._what} is stored by columns or has objects; save it as an array of rows")
        self._row_shape = self.shape[1:]
        self._row_bytes = self.dtype.itemsize * int(np.prod(self._row_shape))

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()

    def skip(self, rows: int) -> None:
        if rows:
            self._stream.seek(rows * self._row_bytes, 1)

    def take(self, rows: int) -> NDArray[Any]:
        try:
            data = self._stream.read(rows * self._row_bytes)
        except (zipfile.BadZipFile, EOFError) as error:
            raise SourceError(f"{self._what} is damaged: {error}") from error
        if len(data) != rows * self._row_bytes:
            raise SourceError(f"{self._what} is cut short")
        return np.frombuffer(data, self.dtype).reshape(rows, *self._row_shape)


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path} is no .npz: {error}") from error


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _only_table(archive: zipfile.ZipFile, path: Path) -> str:
    """The only array of two dimensions, or the one that is named ``vectors``."""
    tables = []
    for name in _names(archive):
        with _Member(archive, name, path) as member:
            if len(member.shape) == 2:
                tables.append(name)
    if "vectors" in tables:
        return "vectors"
    if len(tables) != 1:
        raise SourceError(f"{path} has {len(tables)} arrays of two dimensions; name one with --vectors")
    return tables[0]
