"""From a file's name to its writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from mishards.bulk.columnar_sinks import Hdf5Sink, ParquetSink
from mishards.bulk.sinks import CsvSink, JsonLinesSink, NpySink, NpzSink, Sink, VecsSink
from mishards.errors import SourceError

_WRITERS: Mapping[str, Callable[..., Sink]] = MappingProxyType(
    {
        ".npy": NpySink,
        ".npz": NpzSink,
        ".fvecs": VecsSink,
        ".bvecs": VecsSink,
        ".hdf5": Hdf5Sink,
        ".h5": Hdf5Sink,
        ".parquet": ParquetSink,
        ".csv": CsvSink,
        ".tsv": CsvSink,
        ".jsonl": JsonLinesSink,
        ".ndjson": JsonLinesSink,
    }
)


def open_sink(path: Path, width: int, *, binary: bool) -> Sink:
    """Begin a file for rows of ``width`` values; its ending names the format.

    Raises:
        SourceError: no such format, not for these vectors, or a library that it needs is not installed.
    """
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        raise SourceError(f"{path} has the ending {path.suffix!r}, expected one of {' '.join(_WRITERS)}")
    return writer(path, width, binary=binary)
