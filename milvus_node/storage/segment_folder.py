"""One segment's folder: its raw files, its deleted rows, its index files.

    <segment_id>.rv    vectors               written once
    <segment_id>.uid   ids                   written once
    deleted_docs       deleted row offsets   replaced by every delete
    deleted_docs.<n>   the same              by a writer of epoch n, of a segment from before its time
    mishards_owed      see ``owed_deletes``  while there are any
    bloom_filter       for Milvus servers    written once, see ``bloom_filter``
    <file_id>          an index              written once
    <any other>.sum    its checksum, see ``checksums``; none for bloom_filter, which Milvus servers change in place

Files appear whole or not at all. The caller sees to it that one process writes a segment at a time; any number may
read. Row numbers are offsets in the raw files and never change.

A row is deleted when any of the tombstone files says so. Should a writer that was succeeded wake up in the middle of
replacing ``deleted_docs``, it can put an old version back, but it never touches the file of its successor's epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_node.errors import SegmentDamaged, SegmentMissing
from milvus_node.storage import checksums, owed_deletes, raw_segment
from milvus_node.storage.bloom_filter import bloom_filter_of
from milvus_node.storage.file_io import BytesLike, make_folder, storage_errors
from milvus_node.storage.names import (
    BLOOM_FILTER,
    DELETED_DOCS,
    IDS_SUFFIX,
    VECTORS_SUFFIX,
    checked_file_id,
    is_tombstones,
    tombstones_name,
)
from milvus_node.storage.staging import Staging
from milvus_node.storage.stored_vectors import Element, StoredVectors

_ID_BYTES = 8


class SegmentFolder:
    """The segment at ``path``, whose last component is the segment id; made by ``StorageLayout.segment``.

    Reads raise SegmentMissing (file not there), SegmentDamaged (bytes contradict format or checksum; file and figures
    are named) or StorageError; writes raise DiskFull or StorageError and leave nothing half-written.
    """

    def __init__(self, path: Path, *, bloom_filters: bool = True) -> None:
        self.path = path
        self._bloom_filters = bloom_filters

    @property
    def segment_id(self) -> str:
        """The segment's id, also the file id of its raw files."""
        return self.path.name

    def path_of(self, file_id: str) -> Path:
        """Where the index file ``file_id`` lies, whether it exists or not."""
        return self.path / checked_file_id(file_id)

    # --- raw files -------------------------------------------------------------------------------------------

    def write_raw(
        self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[Element], *, bloom_filter: bool | None = None
    ) -> None:
        """Write the raw files of ``ids`` (``int64[n]``) and ``vectors`` (``[n, width]``), with no row deleted.

        When it returns, every file and the folder itself are durable. Contiguous arrays are not copied. Without
        ``bloom_filter`` (2.7 MB) a Milvus server can search the segment, but neither delete in it nor fetch rows by id;
        None leaves that to the layout.
        """
        if ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
            raise ValueError(f"ids {ids.dtype}{ids.shape} and vectors {vectors.dtype}{vectors.shape} are no segment")
        self.write_raw_blocks(ids, [vectors], vectors[:1].nbytes, bloom_filter=bloom_filter)

    def write_raw_blocks(
        self,
        ids: npt.NDArray[np.int64],
        blocks: Iterable[npt.NDArray[Element]],
        row_bytes: int,
        *,
        bloom_filter: bool | None = None,
    ) -> None:
        """Write the raw files as ``write_raw`` does, of vectors that come as consecutive ``blocks`` of rows.

        What ``blocks`` raise passes through.
        """
        if ids.dtype != np.int64:
            raise ValueError(f"ids {ids.dtype}{ids.shape} are no segment; expected int64[n]")
        with storage_errors(self.path):
            make_folder(self.path)
        with Staging(self.path) as staging:
            size = len(ids) * row_bytes
            written = self._stage(staging, self._vectors_path.name, raw_segment.framed_blocks(blocks, size), size)
            if written != raw_segment.HEADER_BYTES + size:
                raise ValueError(f"{len(ids)} ids of {row_bytes} bytes a vector, but {written} bytes of vectors came")
            self._stage(staging, self._ids_path.name, raw_segment.framed(ids), ids.nbytes)
            if self._bloom_filters if bloom_filter is None else bloom_filter:
                staging.write(BLOOM_FILTER, bloom_filter_of(ids))
            self._stage_replacement(staging, DELETED_DOCS, raw_segment.framed(np.empty(0, np.int32)))
            staging.publish()

    def row_count(self) -> int:
        """The rows in the raw files, deleted ones included."""
        return self._ids_in(raw_segment.payload_bytes(self._ids_path))

    def read_ids(self) -> npt.NDArray[np.int64]:
        """Read the row ids, ``int64[n]``."""
        payload = raw_segment.read_payload(self._ids_path)
        self._ids_in(payload.nbytes)
        return payload.view(np.int64)

    def read_vectors(self, dtype: type[Element], width: int) -> npt.NDArray[Element]:
        """Read all vectors, ``dtype[n, width]``."""
        expected = self.row_count() * width * np.dtype(dtype).itemsize
        return raw_segment.read_payload(self._vectors_path, expected).view(dtype).reshape(-1, width)

    def stored_vectors(self, dtype: type[Element], width: int) -> StoredVectors[Element]:
        """All vectors as ``dtype[n, width]``, to be read in parts; nothing of them is read or checked yet."""
        return StoredVectors(self._vectors_path, np.dtype(dtype), (self.row_count(), width))

    def read_rows(self, rows: npt.NDArray[np.int64], dtype: type[Element], width: int) -> npt.NDArray[Element]:
        """Read the vectors of ``rows`` (``int64[m]``, any order) as ``dtype[m, width]``; checks sizes, no checksum."""
        row_bytes = width * np.dtype(dtype).itemsize
        payload = raw_segment.read_payload_rows(self._vectors_path, rows, row_bytes, self.row_count())
        return payload.view(dtype)

    def _ids_in(self, size: int) -> int:
        if size % _ID_BYTES:
            raise SegmentDamaged(f"{self._ids_path} is damaged: {size} bytes are no whole number of ids")
        return size // _ID_BYTES

    # --- deleted rows ----------------------------------------------------------------------------------------

    def read_deleted(self, ids: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int32]:
        """Read the offsets of deleted rows, ``int32[m]``, sorted, each once, with those of deletes that are owed.

        ``ids`` are the segment's where the caller has them.
        """
        names = {DELETED_DOCS, *self._later_tombstones()}
        rows = self.row_count()
        found = [self._read_tombstones(self.path / name, rows) for name in sorted(names)]
        owed = owed_deletes.read(self.path)
        if len(owed):
            rows_owed = np.flatnonzero(np.isin(self.read_ids() if ids is None else ids, owed))
            found.append(rows_owed.astype(np.int32))
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _later_tombstones(self) -> list[str]:
        with storage_errors(self.path), suppress(FileNotFoundError):
            return [path.name for path in self.path.iterdir() if is_tombstones(path.name)]
        return []

    @staticmethod
    def _read_tombstones(path: Path, rows: int) -> npt.NDArray[np.int32]:
        try:
            payload = raw_segment.read_payload(path)
        except SegmentDamaged:
            payload = raw_segment.read_payload(path)  # a replacement between reading file and sum is no damage
        if payload.nbytes % 4:
            raise SegmentDamaged(f"{path} is damaged: {payload.nbytes} bytes are no whole number of offsets")
        offsets = np.unique(payload.view(np.int32))
        if len(offsets) and not 0 <= offsets[0] <= offsets[-1] < rows:
            raise SegmentDamaged(f"{path} is damaged: offsets {offsets[0]}..{offsets[-1]} in a segment of {rows} rows")
        return offsets

    def write_deleted(self, offsets: npt.NDArray[np.integer[Any]], *, epoch: int = 0) -> None:
        """Replace the deleted rows by ``offsets``: all of them, not only new ones, and those that are owed.

        A writer of an ``epoch`` that began after the segment was written names it.
        """
        rows = self.row_count()
        unique = np.unique(offsets)
        if len(unique) and not 0 <= unique[0] <= unique[-1] < rows:
            raise ValueError(f"offsets {unique[0]}..{unique[-1]} are not in the {rows} rows of {self.path}")
        with Staging(self.path) as staging:
            for name in (DELETED_DOCS, tombstones_name(epoch)) if epoch else (DELETED_DOCS,):
                self._stage_replacement(staging, name, raw_segment.framed(unique.astype(np.int32)))
            staging.publish()
        owed_deletes.settle(self.path)

    # --- index files -----------------------------------------------------------------------------------------

    def write_file(self, file_id: str, writer: Callable[[Path], object]) -> None:
        """Let ``writer`` write the index file ``file_id`` at the path it gets, then publish it with its checksum.

        What ``writer`` raises passes through, an OSError as DiskFull or StorageError; its file is removed.
        """
        name = checked_file_id(file_id)
        with Staging(self.path) as staging:
            temporary = staging.write_with(name, writer)
            staging.write(name + checksums.SUFFIX, [checksums.checksum_of_file(temporary).to_json()])
            staging.publish()

    def verify_file(self, file_id: str) -> None:
        """Read the index file ``file_id`` and compare it with its checksum, where it has one."""
        path = self.path_of(file_id)
        if not path.exists():
            raise SegmentMissing(f"{path} is missing")
        checksums.verify(path, checksums.checksum_of_file(path))

    def remove_file(self, file_id: str) -> None:
        """Remove an index file and its checksum, where they exist."""
        path = self.path_of(file_id)
        with storage_errors(path):
            path.unlink(missing_ok=True)
            path.with_name(path.name + checksums.SUFFIX).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the whole folder, where it exists."""
        with storage_errors(self.path), suppress(FileNotFoundError):
            for path in self.path.iterdir():
                path.unlink(missing_ok=True)
            self.path.rmdir()

    # --- shared ----------------------------------------------------------------------------------------------

    @property
    def _vectors_path(self) -> Path:
        return self.path / (self.segment_id + VECTORS_SUFFIX)

    @property
    def _ids_path(self) -> Path:
        return self.path / (self.segment_id + IDS_SUFFIX)

    def _stage(self, staging: Staging, name: str, buffers: Iterable[BytesLike], size: int) -> int:
        """Stage a file of about ``size`` bytes that is written once; return its bytes."""
        summing = checksums.Summing(buffers)
        staging.write(name, summing, size)
        staging.write(name + checksums.SUFFIX, [summing.checksum.to_json()])
        return summing.checksum.size

    def _stage_replacement(self, staging: Staging, name: str, buffers: Sequence[BytesLike]) -> None:
        """Stage a new version of a file; the old version's sum goes before the new file comes."""
        modified_ns = staging.write(name, buffers).st_mtime_ns
        found = checksums.checksum_of(buffers)
        sum_name = name + checksums.SUFFIX
        staging.write(sum_name, [checksums.Checksum(found.size, found.crc32, modified_ns).to_json()])
        with storage_errors(self.path / sum_name):
            (self.path / sum_name).unlink(missing_ok=True)
