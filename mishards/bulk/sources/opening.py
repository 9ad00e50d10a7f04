"""From a file's name to its reader."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from mishards.bulk.sources.api import ReadOptions, Source
from mishards.errors import SourceError

_READERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        ".npy": ("arrays", "NpySource"),
        ".npz": ("arrays", "NpzSource"),
        ".fvecs": ("vecs", "VecsSource"),
        ".ivecs": ("vecs", "VecsSource"),
        ".bvecs": ("vecs", "VecsSource"),
        ".hdf5": ("hdf5", "Hdf5Source"),
        ".h5": ("hdf5", "Hdf5Source"),
        ".parquet": ("parquet", "ParquetSource"),
        ".csv": ("text", "CsvSource"),
        ".tsv": ("text", "CsvSource"),
        ".jsonl": ("text", "JsonLinesSource"),
        ".ndjson": ("text", "JsonLinesSource"),
    }
)

FORMATS = tuple(_READERS)
"""The endings of file names that can be read."""


def open_source(path: Path, options: ReadOptions) -> Source:
    """Open a file of vectors; its ending names the format.

    Raises:
        SourceError: no such format, a library that it needs is not installed, or the file is not what its name says.
        OSError: the file cannot be opened.
    """
    found = _READERS.get(path.suffix)
    if found is None:
        raise SourceError(f"{path} has the ending {path.suffix!r}, expected one of {' '.join(FORMATS)}")
    module = importlib.import_module(f"mishards.bulk.sources.{found[0]}")
    return cast("Source", getattr(module, found[1])(path, options))
