"""Writers of files of vectors with their ids: what the readers in ``sources`` read.

A file appears under its name when it is whole, and not before. Ids of formats that hold one array go to
``NAME.ids.npy`` beside it.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mishards.bulk.sources.api import Ids, Vectors
from mishards.errors import SourceError


class Sink(Protocol):
    """A file being written. Belongs to one thread."""

    files: tuple[Path, ...]
    """What it makes."""

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """Append rows."""
        ...

    def finish(self) -> None:
        """Make the file appear."""
        ...

    def abandon(self) -> None:
        """Leave nothing behind. May be called after ``finish``, and does nothing then."""
        ...


def part_path(path: Path) -> Path:
    """Where a file is while it is not whole."""
    return path.with_name(f".{path.name}.part")


def ids_path(path: Path) -> Path:
    """Where the ids of a file without room for them are."""
    return path.with_name(f"{path.stem}.ids.npy")


class _Array:
    """A ``.npy`` whose number of rows is known in the end: numpy leaves room for it in the header."""

    def __init__(self, path: Path, dtype: Any, row_shape: tuple[int, ...]) -> None:
        self.path = path
        self._dtype, self._row_shape, self._rows = np.dtype(dtype), row_shape, 0
        self._stream = path.open("w+b")
        self._stream.write(self._header())

    def _header(self) -> bytes:
        buffer = io.BytesIO()
        described = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._row_shape),
        }
        np.lib.format.write_array_header_1_0(buffer, described)
        return buffer.getvalue()

    def write(self, rows: NDArray[Any]) -> None:
        self._stream.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        if not self._stream.closed:
            self._stream.seek(0)
            self._stream.write(self._header())
            self._stream.close()


class NpySink:
    """Two ``.npy``: vectors and ids."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        self.files: tuple[Path, ...] = (path, ids_path(path))
        self._arrays = (
            _Array(part_path(path), "u1" if binary else "<f4", (width,)),
            _Array(part_path(ids_path(path)), "<i8", ()),
        )

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        for array, rows in zip(self._arrays, (vectors, ids), strict=True):
            array.write(rows)

    def finish(self) -> None:
        """As ``Sink.finish``."""
        for array, path in zip(self._arrays, self.files, strict=True):
            array.close()
            array.path.replace(path)

    def abandon(self) -> None:
        """As ``Sink.abandon``."""
        for array in self._arrays:
            array.close()
            array.path.unlink(missing_ok=True)


class NpzSink(NpySink):
    """A ``.npz`` of the arrays ``vectors`` and ``ids``."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        super().__init__(path, width, binary=binary)
        self.files = (path,)

    def finish(self) -> None:
        """As ``Sink.finish``."""
        path = self.files[0]
        whole = path.with_name(f".{path.name}.zip")
        with zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
            for name, array in zip(("vectors", "ids"), self._arrays, strict=True):
                array.close()
                archive.write(array.path, f"{name}.npy")
                array.path.unlink()
        whole.replace(path)


class FileSink:
    """One file under another name until it is whole, and perhaps ids beside it."""

    def __init__(self, path: Path, *, ids_beside: bool = False, text: bool = False) -> None:
        self._path = path
        self._stream: Any = part_path(path).open("w", encoding="utf-8") if text else part_path(path).open("wb")
        self._ids = _Array(part_path(ids_path(path)), "<i8", ()) if ids_beside else None
        self.files: tuple[Path, ...] = (path, ids_path(path)) if ids_beside else (path,)

    def finish(self) -> None:
        """As ``Sink.finish``."""
        self._stream.close()
        part_path(self._path).replace(self._path)
        if self._ids is not None:
            self._ids.close()
            self._ids.path.replace(self.files[1])

    def abandon(self) -> None:
        """As ``Sink.abandon``."""
        self._stream.close()
        part_path(self._path).unlink(missing_ok=True)
        if self._ids is not None:
            self._ids.close()
            self._ids.path.unlink(missing_ok=True)


class VecsSink(FileSink):
    """``.fvecs``, or ``.bvecs`` for bytes."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        if binary != (path.suffix == ".bvecs"):
            raise SourceError(f"{path} cannot hold these vectors: .fvecs is for floats, .bvecs for bytes")
        super().__init__(path, ids_beside=True)
        self._head = np.frombuffer(np.array([width], "<i4").tobytes(), np.uint8)
        self._dtype = "u1" if binary else "<f4"

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        values = np.ascontiguousarray(vectors, self._dtype).view(np.uint8)
        heads = np.broadcast_to(self._head, (len(values), len(self._head)))
        self._stream.write(np.hstack([heads, values]).tobytes())
        if self._ids is not None:
            self._ids.write(ids)


class CsvSink(FileSink):
    """Columns ``id``, ``v0``, ``v1`` and so on."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        super().__init__(path, text=True)
        self._separator = "\t" if path.suffix == ".tsv" else ","
        self._stream.write(self._separator.join(["id", *(f"v{at}" for at in range(width))]) + "\n")

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        for row_id, row in zip(ids.tolist(), vectors.tolist(), strict=True):
            self._stream.write(self._separator.join([str(row_id), *map(_number, row)]) + "\n")


class JsonLinesSink(FileSink):
    """Objects with ``id`` and ``vector``."""

    def __init__(self, path: Path, width: int, *, binary: bool) -> None:
        super().__init__(path, text=True)

    def write(self, ids: Ids, vectors: Vectors) -> None:
        """As ``Sink.write``."""
        for row_id, row in zip(ids.tolist(), vectors.tolist(), strict=True):
            self._stream.write(f'{{"id": {json.dumps(row_id)}, "vector": [{", ".join(map(_number, row))}]}}\n')


def _number(value: float) -> str:
    return f"{value:.9g}"  # nine digits tell every float32 from its neighbours
