"""Writers of Parquet and HDF5, which need libraries of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mishards.bulk.sinks import FileSink, part_path
from mishards.bulk.sources.api import Ids, Vectors
from mishards.bulk.sources.extra import needed


class ParquetSink(FileSink):
    """Columns ``id`` and ``vector``: lists of float, or bytes of fixed length."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        self._arrow = arrow = needed("pyarrow")
        parquet = needed("pyarrow.parquet")
        super().__init__(path)
        self._vector = arrow.binary(width) if binary else arrow.list_(arrow.float32(), width)
        self._schema = arrow.schema([("id", arrow.int64()), ("vector", self._vector)])
        self._writer = parquet.ParquetWriter(self._stream, self._schema)

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        arrow = self._arrow
        if vectors.dtype == np.uint8:
            column = arrow.array([row.tobytes() for row in vectors], self._vector)
        else:
            flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1))
            column = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self._writer.write_table(arrow.Table.from_arrays([arrow.array(ids), column], schema=self._schema))

    def finish(self) -> None:
        """As ``Sink.finish``."""
        self._writer.close()
        super().finish()

    def abandon(self) -> None:
        """As ``Sink.abandon``."""
        self._writer.close()
        super().abandon()


class Hdf5Sink:
    """Datasets ``train`` and ``ids``."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        self.files: tuple[Path, ...] = (path,)
        self._file = needed("h5py").File(part_path(path), "w")
        dtype = "u1" if binary else "<f4"
        self._vectors = self._file.create_dataset("train", (0, width), dtype, maxshape=(None, width), chunks=True)
        self._ids = self._file.create_dataset("ids", (0,), "<i8", maxshape=(None,), chunks=True)

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        first = len(self._ids)
        for dataset, rows in ((self._vectors, vectors), (self._ids, ids)):
            dataset.resize(first + len(rows), axis=0)
            dataset[first:] = rows

    def finish(self) -> None:
        """As ``Sink.finish``."""
        self._file.close()
        part_path(self.files[0]).replace(self.files[0])

    def abandon(self) -> None:
        """As ``Sink.abandon``."""
        self._file.close()
        part_path(self.files[0]).unlink(missing_ok=True)
