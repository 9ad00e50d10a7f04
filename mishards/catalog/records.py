"""Rows of the Milvus 1.x metadata tables as immutable values.

Times are microseconds since the epoch; ``index_file_size`` is in bytes (the protocol speaks MB).
"""

from __future__ import annotations

from dataclasses import dataclass

from mishards.kinds import Number


class TableState(Number):
    """``Tables.state``."""

    NORMAL = 0
    TO_DELETE = 1


class FileType(Number):
    """``TableFiles.file_type``.

    A raw file goes RAW → TO_INDEX → BACKUP while an index file beside it goes NEW_INDEX → INDEX; every file ends as
    TO_DELETE. NEW, NEW_MERGE and NEW_INDEX are announcements of a writer at work: never searched.
    """

    NEW = 0
    RAW = 1
    TO_INDEX = 2
    INDEX = 3
    TO_DELETE = 4
    NEW_MERGE = 5
    NEW_INDEX = 6
    BACKUP = 7


class IdMode(Number):
    """``Tables.flag``: who gives the ids of a collection; fixed by the first insert."""

    UNDECIDED = 0
    GENERATED = 1
    USER = 2


@dataclass(frozen=True, slots=True)
class TableRecord:
    """One row of ``Tables``: a collection, or a partition of one (then ``owner_table`` names the collection)."""

    id: int
    table_id: str
    state: int
    dimension: int
    created_on: int
    flag: int
    index_file_size: int
    engine_type: int
    index_params: str
    metric_type: int
    owner_table: str
    partition_tag: str
    version: str
    flush_lsn: int


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One row of ``mishards_replicas``: a number that was set for the collection of that name and creation."""

    collection: str
    created_on: int
    replicas: int


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One row of ``TableFiles``: one file of a segment.

    ``id`` travels on the wire as decimal text. SQLite databases made by Milvus reuse ids, so nothing may be kept
    under ``id`` alone. ``updated_time`` is the file's version: it moves whenever rows of it are deleted.
    """

    id: int
    table_id: str
    segment_id: str
    engine_type: int
    file_id: str
    file_type: int
    file_size: int
    row_count: int
    updated_time: int
    created_on: int
    date: int
    flush_lsn: int
