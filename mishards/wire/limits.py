"""The numeric limits of a Milvus 1.1.0 server, and the checks that name them in the protocol's texts.

The checks take the plain numbers of a request. In which order a method runs them is the method's contract.
"""

from __future__ import annotations

from typing import Final

from mishards.errors import (
    IllegalArgument,
    IllegalDimension,
    IllegalIds,
    IllegalIndexType,
    IllegalMetric,
    IllegalRows,
    IllegalTopK,
    PartitionError,
    RequestError,
)
from mishards.kinds import IndexType, MetricType

MAX_NAME_BYTES: Final = 255
"""Bytes of a collection name or a partition tag."""
MAX_DIMENSION: Final = 32768
MAX_INDEX_FILE_SIZE_MB: Final = 4096
MAX_TOPK: Final = 16384
MAX_INSERT_BYTES: Final = 256 << 20
"""Raw vector data of one Insert."""
MAX_IDS_PER_GET: Final = 1000
"""Ids of one GetVectorsByID."""
MAX_PARTITIONS: Final = 4096
"""Created partitions of one collection."""
MAX_SEARCH_FILES: Final = 65536
"""Segments of one search."""

_OTHERS_INDEX_TYPES: Final = (IndexType.IVF_SQ8H, IndexType.SPTAG_KDT, IndexType.SPTAG_BKT)


def check_dimension(dimension: int, metric: int) -> None:
    """Check the dimension of a new collection; ``metric`` may still be unchecked.

    Raises:
        IllegalDimension: out of range, or no multiple of 8 for a metric of binary vectors.
    """
    start = f"Invalid collection dimension: {dimension}. The collection dimension must be "
    if not 1 <= dimension <= MAX_DIMENSION:
        raise IllegalDimension(f"{start}within the range of 1 ~ {MAX_DIMENSION}.")
    if MetricType.HAMMING <= metric <= MetricType.SUPERSTRUCTURE and dimension % 8:
        raise IllegalDimension(f"{start}a multiple of 8")


def check_index_file_size(megabytes: int) -> None:
    """Check the size, in MB, at which segments of a new collection are sealed and indexed.

    Raises:
        IllegalArgument: out of range.
    """
    if not 1 <= megabytes <= MAX_INDEX_FILE_SIZE_MB:
        raise IllegalArgument(
            f"Invalid index file size: {megabytes}. "
            f"The index file size must be within the range of 1 ~ {MAX_INDEX_FILE_SIZE_MB}."
        )


def check_metric(number: int) -> MetricType:
    """Return the metric of a new collection.

    Raises:
        IllegalMetric: no metric has this number.
    """
    if not MetricType.L2 <= number <= MetricType.SUPERSTRUCTURE:
        raise IllegalMetric(f"Invalid index metric type: {number}. Make sure the metric type is in MetricType list.")
    return MetricType(number)


def check_index_type(number: int, metric: MetricType) -> IndexType:
    """Return the index type in the form that the catalog keeps: BIN_FLAT and BIN_IVF_FLAT for binary metrics.

    Whether the type fits the metric is not checked here: the protocol looks at the parameters first
    (``params.build_params`` does both). IVF_SQ8H needs a GPU and the SPTAG types a library that this project does
    not have.

    Raises:
        IllegalIndexType: no index has this number, or none that can be built here.
    """
    if not IndexType.FLAT <= number <= IndexType.ANNOY:
        raise IllegalIndexType(f"Invalid index type: {number}. Make sure the index type is in IndexType list.")
    index_type = IndexType(number)
    if index_type in _OTHERS_INDEX_TYPES:
        raise IllegalIndexType(f"Unsupported index type: {number}")
    plain = index_type.on_the_wire
    if metric.is_binary:
        return {IndexType.FLAT: IndexType.BIN_FLAT, IndexType.IVF_FLAT: IndexType.BIN_IVF_FLAT}.get(plain, plain)
    return plain


def check_topk(topk: int) -> None:
    """Check how many neighbours a search asks for.

    Raises:
        IllegalTopK: out of range.
    """
    if not 1 <= topk <= MAX_TOPK:
        raise IllegalTopK(topk, MAX_TOPK)


def check_id_count(count: int) -> None:
    """Check how many vectors GetVectorsByID asks for.

    Raises:
        IllegalArgument: none or too many.
    """
    if count < 1:
        raise IllegalArgument("No vector id specified")
    if count > MAX_IDS_PER_GET:
        raise IllegalArgument(f"Input id array size cannot exceed: {MAX_IDS_PER_GET}")


def check_insert_ids(ids: int, rows: int) -> None:
    """Check that an Insert brings no ids, or one for each row.

    Raises:
        IllegalIds: it brings some.
    """
    if ids and ids != rows:
        raise IllegalIds("The size of vector ID array must be equal to the size of the vector.")


def check_insert_size(nbytes: int) -> None:
    """Check the raw vector data of one Insert, in bytes.

    Raises:
        IllegalRows: too much.
    """
    if nbytes > MAX_INSERT_BYTES:
        raise IllegalRows(f"The amount of data inserted each time cannot exceed {MAX_INSERT_BYTES >> 20} MB")


def check_partition_count(existing: int) -> None:
    """Check that a collection with ``existing`` created partitions may get one more.

    Raises:
        PartitionError: it has as many as it may.
    """
    if existing >= MAX_PARTITIONS:
        raise PartitionError(f"The number of partitions exceeds the upper limit({MAX_PARTITIONS})")


def check_search_files(count: int) -> None:
    """Check how many segments one search covers.

    Raises:
        RequestError: too many.
    """
    if count > MAX_SEARCH_FILES:
        raise RequestError(f"Search files count exceed scheduler limit: {MAX_SEARCH_FILES}")
