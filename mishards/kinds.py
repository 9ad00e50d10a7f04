"""What the protocol and the catalog share: the kinds of metric and index, and the tag of the default partition."""

from __future__ import annotations

import enum

DEFAULT_TAG = "_default"
"""The built-in partition: a collection's own rows."""


class Number(enum.IntEnum):
    """Members are written as their numbers: by Python 3.10 too, whose drivers would put names into statements."""

    def __str__(self) -> str:
        return int.__repr__(self)


class MetricType(Number):
    """``metric_type`` on the wire and in ``Tables``; 3 and above are metrics of binary vectors."""

    L2 = 1
    IP = 2
    HAMMING = 3
    JACCARD = 4
    TANIMOTO = 5
    SUBSTRUCTURE = 6
    SUPERSTRUCTURE = 7

    @property
    def is_binary(self) -> bool:
        """Do vectors of this metric travel as bytes, eight dimensions a byte?"""
        return self >= MetricType.HAMMING

    @property
    def larger_is_nearer(self) -> bool:
        """Only the inner product ranks the larger value first."""
        return self is MetricType.IP

    def vector_bytes(self, dimension: int) -> int:
        """Bytes of one stored vector."""
        return dimension // 8 if self.is_binary else dimension * 4


class IndexType(Number):
    """``index_type`` on the wire and ``engine_type`` in the catalog; 9 and 10 never leave the catalog."""

    INVALID = 0
    FLAT = 1
    IVF_FLAT = 2
    IVF_SQ8 = 3
    RNSG = 4
    IVF_SQ8H = 5
    IVF_PQ = 6
    SPTAG_KDT = 7
    SPTAG_BKT = 8
    BIN_FLAT = 9
    BIN_IVF_FLAT = 10
    HNSW = 11
    ANNOY = 12

    @property
    def on_the_wire(self) -> IndexType:
        """The number a client sees: binary FLAT and IVF_FLAT are reported as 1 and 2."""
        if self is IndexType.BIN_FLAT:
            return IndexType.FLAT
        return IndexType.IVF_FLAT if self is IndexType.BIN_IVF_FLAT else self

    @property
    def is_flat(self) -> bool:
        """Is this exhaustive search over the raw vectors?"""
        return self in (IndexType.FLAT, IndexType.BIN_FLAT)
