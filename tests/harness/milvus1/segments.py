"""Segments on disk, in the folders and byte formats of Milvus 1.x; all numbers are little endian.

``<storage>/db/tables/<table_id>/<segment_id>/`` holds ``<segment_id>.rv`` and ``.uid`` (u64 bytes of payload, then the
vectors, or int64 ids), ``deleted_docs`` (the same, int32 row offsets), ``bloom_filter``, and one file for each index.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.milvus1.metadata import File

Rows = NDArray[np.uint8]
"""``uint8[n, bytes of a vector]``."""
Ids = NDArray[np.int64]


def table_folder(storage: Path, table_id: str) -> Path:
    """Return the folder of a collection or partition."""
    return storage / "db" / "tables" / table_id


def segment_folder(storage: Path, file: File) -> Path:
    """Return the folder of a file's segment."""
    return table_folder(storage, file.table_id) / file.segment_id


def location(storage: Path, file: File) -> Path:
    """Return the path of a file; a raw one is this with two suffixes."""
    return segment_folder(storage, file) / file.file_id


def _counted(payload: bytes) -> bytes:
    return struct.pack("<Q", len(payload)) + payload


def _payload(path: Path) -> bytes:
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content)
    if len(content) != 8 + count:
        raise OSError(f"{path} has {len(content)} bytes, not 8 and {count}")
    return content[8:]


def write_segment(storage: Path, file: File, rows: Rows, ids: Ids) -> None:
    """Write a new raw segment without deletes."""
    folder = segment_folder(storage, file)
    folder.mkdir(parents=True)
    (folder / f"{file.segment_id}.rv").write_bytes(_counted(rows.tobytes()))
    (folder / f"{file.segment_id}.uid").write_bytes(_counted(ids.astype("<i8").tobytes()))
    (folder / "deleted_docs").write_bytes(_counted(b""))
    bloom = folder / "bloom_filter"
    bloom.write_bytes(b"no bloom filter: written by a test double\n")
    bloom.chmod(0o600)


def write_index(path: Path, engine_type: int, blob: bytes) -> int:
    """Write an index file that names its type and holds one blob; return its size."""
    name = b"IVF"
    head = struct.pack("<iQ", engine_type, len(name)) + name + struct.pack("<q", len(blob))
    path.write_bytes(head + blob)
    return len(head) + len(blob)


def check_index(path: Path) -> None:
    """Read the head of an index file.

    Raises:
        OSError: when it is missing or too short.
    """
    if len(path.read_bytes()) < 12:
        raise OSError(f"{path} is no index file")


def read_ids(folder: Path) -> Ids:
    """Return ``int64[n]``, the ids of a segment's rows."""
    return np.frombuffer(_payload(folder / f"{folder.name}.uid"), dtype="<i8").astype(np.int64)


def read_rows(folder: Path, vector_bytes: int) -> Rows:
    """Return ``uint8[n, vector_bytes]``, a segment's vectors as they are stored."""
    return np.frombuffer(_payload(folder / f"{folder.name}.rv"), dtype=np.uint8).reshape(-1, vector_bytes)


def read_deleted(folder: Path) -> NDArray[np.int32]:
    """Return the offsets of the deleted rows, in the order of their deletion."""
    return np.frombuffer(_payload(folder / "deleted_docs"), dtype="<i4").astype(np.int32)


def live_rows(folder: Path, total: int) -> NDArray[np.bool_]:
    """Return ``bool[total]``, which rows of a segment are not deleted."""
    live = np.ones(total, dtype=np.bool_)
    live[read_deleted(folder)] = False
    return live


def add_deleted(folder: Path, offsets: NDArray[np.int32]) -> None:
    """Append to the deleted rows, through a temporary file and a rename."""
    both = np.concatenate([read_deleted(folder), offsets.astype(np.int32)])
    temporary = folder / "temp_del"
    temporary.write_bytes(_counted(both.astype("<i4").tobytes()))
    temporary.rename(folder / "deleted_docs")


def remove_file(storage: Path, file: File, others: Iterable[File]) -> None:
    """Remove a file, its segment's folder when no other row has a file in it, and an empty folder above that."""
    if file.file_id == file.segment_id:
        for suffix in (".rv", ".uid"):
            location(storage, file).with_name(file.file_id + suffix).unlink(missing_ok=True)
    else:
        location(storage, file).unlink(missing_ok=True)
    if all(other.id == file.id for other in others):
        shutil.rmtree(segment_folder(storage, file), ignore_errors=True)
        with contextlib.suppress(OSError):  # other segments are in it
            table_folder(storage, file.table_id).rmdir()
