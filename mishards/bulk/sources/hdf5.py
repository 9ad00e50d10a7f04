"""HDF5, as ann-benchmarks lays out its data sets: the vectors in ``train`` (https://github.com/erikbern/ann-benchmarks)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mishards.bulk.sources.api import Block, ReadOptions, array_block, check_array, check_ids
from mishards.bulk.sources.extra import needed
from mishards.errors import SourceError

_DEFAULT = "train"


class Hdf5Source:
    """A dataset of vectors, and one of ids."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path, self._options = path, options
        self._name = options.vectors or _DEFAULT
        self.files = (path,)
        with _opened(path) as file:
            vectors = _dataset(file, self._name, path)
            self.width = check_array(vectors.shape, vectors.dtype, f"{path}, dataset {self._name}", options)
            self.rows: int | None = int(vectors.shape[0])
            if options.ids:
                ids = _dataset(file, options.ids, path)
                check_ids(ids.shape, ids.dtype, f"{path}, dataset {options.ids}", self.rows)

    def blocks(self, rows: int, skip: int = 0) -> Iterator[Block]:
        """As ``Source.blocks``."""
        with _opened(self._path) as file:
            vectors = _dataset(file, self._name, self._path)
            ids = _dataset(file, self._options.ids, self._path) if self._options.ids else None
            for first in range(skip * rows, self.rows or 0, rows):
                try:
                    values = np.asarray(vectors[first : first + rows])
                    numbers = None if ids is None else np.asarray(ids[first : first + rows])
                except OSError as error:
                    raise SourceError(f"{self._path} is damaged at rows {first} …: {error}") from error
                yield array_block(first, values, numbers, self._options)


def _opened(path: Path) -> Any:
    h5py = needed("h5py")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if not path.exists():
            raise
        raise SourceError(f"{path} is no HDF5 file: {error}") from error


def _dataset(file: Any, name: str, path: Path) -> Any:
    found = file.get(name)
    if found is None or not hasattr(found, "shape"):
        raise SourceError(f"{path} has no dataset {name!r}; it has {', '.join(file) or 'none'}")
    return found
