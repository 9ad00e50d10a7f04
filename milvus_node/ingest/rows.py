"""Inserts and deletes: checked, logged, buffered, acknowledged.

A call returns once its record is on disk (fsynced with whatever else waited) and in the buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np

from milvus_node.ingest.buffer import Ids, RowBytes
from milvus_node.ingest.flush import Flusher
from milvus_node.ingest.parts import WriteParts
from milvus_node.ingest.wal import DeleteRecord, InsertRecord
from mishards.catalog.records import IdMode
from mishards.catalog.snapshot import Collection, Partition
from mishards.deadline import Deadline
from mishards.errors import CollectionNotFound, DeadlineExceeded, IllegalIds, MishardsError, PartitionError
from mishards.kinds import DEFAULT_TAG

_GENERATED_TEXT = (
    "Entities IDs are auto-generated. All vectors of this collection must use auto-generated IDs."  # the protocol's
)
_USER_TEXT = "Entities IDs are user-defined. Please provide IDs for all entities of the collection."  # the protocol's


def find_partition(collection: Collection, tag: str) -> Partition:
    """The partition of this trimmed tag; an empty one means the collection's own rows.

    Raises:
        PartitionError: there is none.
    """
    found = collection.partition(tag or DEFAULT_TAG)
    if found is None:
        raise PartitionError(f"Collection {collection.name}'s partition {tag} not found")
    return found


class RowWriter:
    """The write calls of clients. Safe from any thread; a call waits for the disk."""

    def __init__(self, parts: WriteParts, flusher: Flusher, buffer_bytes: int) -> None:
        """``buffer_bytes``: more than this in the insert buffer is flushed before another row is accepted."""
        self._parts = parts
        self._flusher = flusher
        self.buffer_bytes = buffer_bytes

    def insert(self, collection: Collection, tag: str, ids: Ids | None, vectors: RowBytes, deadline: Deadline) -> Ids:
        """Accept rows of uint8[n, row bytes]; give ids where the caller has none; return int64[n].

        Raises:
            IllegalIds: the collection's ids come from the other side.
            PartitionError, CollectionNotFound: the place is gone.
            DiskFull: no room in the log; nothing was accepted.
            StorageError, CatalogUnavailable: the insert buffer is full and cannot be flushed, or the id mode cannot be
                recorded; nothing was accepted.
        """
        self._make_room(deadline)
        mode = IdMode.GENERATED if ids is None else IdMode.USER
        with self._parts.locks.gate(collection.name, deadline):
            current = self._same(collection)
            check_id_mode(current, mode)
            table_id = find_partition(current, tag).table_id
            name = current.name
            if current.id_mode is IdMode.UNDECIDED:
                # Before the first row, so that rows of the other kind cannot follow where this answer is lost.
                self._parts.definitions.set_id_mode(name, mode)
                self._parts.catalog.refreshed()
            given = self._parts.ids.batch(len(vectors)) if ids is None else ids
            record = InsertRecord(table_id, given, vectors, ids is None)
            logged = self._parts.wal.append(
                record, lambda lsn: self._parts.buffer.insert(name, table_id, given, vectors, lsn), deadline=deadline
            )
        _wait(logged, deadline)
        return given

    def delete(self, collection: Collection, tag: str, ids: Sequence[int], deadline: Deadline) -> None:
        """Accept a delete in one partition, or without a tag in all; unknown ids are no error.

        Raises:
            PartitionError, CollectionNotFound: the place is gone.
            DiskFull: no room in the log; nothing was accepted.
            StorageError, CatalogUnavailable: the insert buffer is full and cannot be flushed; nothing was accepted.
        """
        if not ids:
            return
        self._make_room(deadline)
        with self._parts.locks.gate(collection.name, deadline):
            current = self._same(collection)
            places = (find_partition(current, tag),) if tag else current.partitions
            table_ids = tuple(place.table_id for place in places)
            wanted = np.unique(np.asarray(ids, dtype=np.int64))
            name = current.name
            logged = self._parts.wal.append(
                DeleteRecord(table_ids, wanted),
                lambda lsn: self._parts.buffer.delete(name, table_ids, wanted, lsn),
                deadline=deadline,
            )
        _wait(logged, deadline)

    def _same(self, collection: Collection) -> Collection:
        """The collection as it is now, if it is still the one that the call was checked against."""
        current = self._parts.catalog.known().collection(collection.name)
        # A database that Milvus made on SQLite gives the id of a dropped collection again.
        if (current.table.id, current.table.created_on) != (collection.table.id, collection.table.created_on):
            raise CollectionNotFound(collection.name)
        return current

    def _make_room(self, deadline: Deadline) -> None:
        if self._parts.buffer.nbytes <= self.buffer_bytes:
            return
        try:
            self._flusher.flush_all(deadline)
        except MishardsError:
            if self._parts.buffer.nbytes > self.buffer_bytes:
                raise


def check_id_mode(collection: Collection, mode: IdMode) -> None:
    """Check that rows whose ids come from ``mode`` fit those that the collection has had.

    Raises:
        IllegalIds: its ids come from the other side.
    """
    if collection.id_mode is IdMode.USER and mode is IdMode.GENERATED:
        raise IllegalIds(_USER_TEXT)
    if collection.id_mode is IdMode.GENERATED and mode is IdMode.USER:
        raise IllegalIds(_GENERATED_TEXT)


def _wait(logged: Future[int], deadline: Deadline) -> None:
    try:
        logged.result(deadline.timeout())
    except FutureTimeoutError:
        raise DeadlineExceeded(
            "the deadline passed before the log was on disk; the rows may or may not be there"
        ) from None
