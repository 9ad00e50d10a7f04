"""The numbers that the protocol and the tables use, as the double reads them; independent of the project's own."""

from __future__ import annotations

import enum

FLOAT_MAX = 3.4028234663852886e38
"""The largest float32: the distance of a placeholder."""


class Code(enum.IntEnum):
    """``error_code`` of a status."""

    UNEXPECTED = 1
    COLLECTION_NOT_EXISTS = 4
    ILLEGAL_ARGUMENT = 5
    ILLEGAL_DIMENSION = 7
    ILLEGAL_INDEX_TYPE = 8
    ILLEGAL_COLLECTION_NAME = 9
    ILLEGAL_TOPK = 10
    ILLEGAL_ROWRECORD = 11
    ILLEGAL_VECTOR_ID = 12
    META_FAILED = 15
    ILLEGAL_METRIC_TYPE = 23


class Refused(Exception):
    """A call ends with this status."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Number(enum.IntEnum):
    """Written as its number by Python 3.10 too."""

    def __str__(self) -> str:
        return int.__repr__(self)


class State(Number):
    """``Tables.state``."""

    NORMAL = 0
    TO_DELETE = 1


class FileType(Number):
    """``TableFiles.file_type``."""

    NEW = 0
    RAW = 1
    TO_INDEX = 2
    INDEX = 3
    TO_DELETE = 4
    NEW_MERGE = 5
    NEW_INDEX = 6
    BACKUP = 7


SHADOW = (FileType.NEW, FileType.NEW_MERGE, FileType.NEW_INDEX)
"""Rows of files that are being written."""
SEARCHED = (FileType.RAW, FileType.TO_INDEX, FileType.INDEX)
"""What a search, a count and the statistics cover."""
RAW_DATA = (FileType.RAW, FileType.TO_INDEX, FileType.BACKUP)
"""What get-by-id, deletes and compaction cover; always searched as FLAT, whatever ``engine_type`` says."""


class Engine(Number):
    """``engine_type``; the binary ones are 1 and 2 on the wire."""

    FLAT = 1
    IVF_FLAT = 2
    IVF_SQ8 = 3
    RNSG = 4
    IVF_SQ8H = 5
    IVF_PQ = 6
    BIN_FLAT = 9
    BIN_IVF_FLAT = 10
    HNSW = 11
    ANNOY = 12


STATISTICS_NAMES = {
    Engine.FLAT: "IDMAP",
    Engine.BIN_FLAT: "IDMAP",
    Engine.IVF_FLAT: "IVFFLAT",
    Engine.BIN_IVF_FLAT: "IVFFLAT",
    Engine.IVF_SQ8: "IVFSQ8",
    Engine.RNSG: "NSG",
    Engine.IVF_SQ8H: "IVFSQ8H",
    Engine.IVF_PQ: "PQ",
    Engine.HNSW: "HNSW",
    Engine.ANNOY: "ANNOY",
}
"""``index_name`` in the statistics of a collection."""


class Metric(Number):
    """``metric_type``; from HAMMING on for vectors of bits."""

    L2 = 1
    IP = 2
    HAMMING = 3
    JACCARD = 4
    TANIMOTO = 5
    SUBSTRUCTURE = 6
    SUPERSTRUCTURE = 7

    @property
    def is_binary(self) -> bool:
        """Do vectors travel as bytes?"""
        return self >= Metric.HAMMING

    def vector_bytes(self, dimension: int) -> int:
        """Bytes of one stored vector."""
        return dimension // 8 if self.is_binary else 4 * dimension

    def flat(self) -> Engine:
        """The engine of a collection of this metric that has no index."""
        return Engine.BIN_FLAT if self.is_binary else Engine.FLAT
