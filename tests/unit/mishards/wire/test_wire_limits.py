from __future__ import annotations

import pytest

from mishards.errors import (
    Code,
    IllegalArgument,
    IllegalDimension,
    IllegalIds,
    IllegalIndexType,
    IllegalMetric,
    IllegalRows,
    IllegalTopK,
    MishardsError,
    PartitionError,
)
from mishards.kinds import IndexType, MetricType
from mishards.wire import limits

CHECKS = [
    (
        lambda: limits.check_dimension(40000, 1),
        IllegalDimension,
        "Invalid collection dimension: 40000. The collection dimension must be within the range of 1 ~ 32768.",
    ),
    (
        lambda: limits.check_dimension(0, 3),
        IllegalDimension,
        "Invalid collection dimension: 0. The collection dimension must be within the range of 1 ~ 32768.",
    ),
    (
        lambda: limits.check_dimension(12, 7),
        IllegalDimension,
        "Invalid collection dimension: 12. The collection dimension must be a multiple of 8",
    ),
    (
        lambda: limits.check_index_file_size(0),
        IllegalArgument,
        "Invalid index file size: 0. The index file size must be within the range of 1 ~ 4096.",
    ),
    (
        lambda: limits.check_index_file_size(200000),
        IllegalArgument,
        "Invalid index file size: 200000. The index file size must be within the range of 1 ~ 4096.",
    ),
    (
        lambda: limits.check_metric(0),
        IllegalMetric,
        "Invalid index metric type: 0. Make sure the metric type is in MetricType list.",
    ),
    (
        lambda: limits.check_metric(8),
        IllegalMetric,
        "Invalid index metric type: 8. Make sure the metric type is in MetricType list.",
    ),
    (
        lambda: limits.check_index_type(13, MetricType.L2),
        IllegalIndexType,
        "Invalid index type: 13. Make sure the index type is in IndexType list.",
    ),
    (
        lambda: limits.check_index_type(0, MetricType.L2),
        IllegalIndexType,
        "Invalid index type: 0. Make sure the index type is in IndexType list.",
    ),
    (lambda: limits.check_index_type(5, MetricType.L2), IllegalIndexType, "Unsupported index type: 5"),
    (lambda: limits.check_index_type(7, MetricType.L2), IllegalIndexType, "Unsupported index type: 7"),
    (
        lambda: limits.check_topk(0),
        IllegalTopK,
        "Invalid topk: 0. The topk must be within the range of 1 ~ 16384.",
    ),
    (
        lambda: limits.check_topk(16385),
        IllegalTopK,
        "Invalid topk: 16385. The topk must be within the range of 1 ~ 16384.",
    ),
    (lambda: limits.check_id_count(0), IllegalArgument, "No vector id specified"),
    (lambda: limits.check_id_count(1001), IllegalArgument, "Input id array size cannot exceed: 1000"),
    (
        lambda: limits.check_insert_ids(1, 2),
        IllegalIds,
        "The size of vector ID array must be equal to the size of the vector.",
    ),
    (
        lambda: limits.check_insert_size((256 << 20) + 1),
        IllegalRows,
        "The amount of data inserted each time cannot exceed 256 MB",
    ),
    (
        lambda: limits.check_partition_count(4096),
        PartitionError,
        "The number of partitions exceeds the upper limit(4096)",
    ),
    (
        lambda: limits.check_search_files(65537),
        MishardsError,
        "Search files count exceed scheduler limit: 65536",
    ),
]


@pytest.mark.parametrize(("check", "kind", "text"), CHECKS, ids=[text for _, _, text in CHECKS])
def test_what_is_out_of_range_is_refused_with_the_protocols_text(check, kind, text):
    with pytest.raises(kind) as error:
        check()
    assert str(error.value) == text


def test_the_codes_are_the_protocols():
    kinds = [IllegalDimension, IllegalArgument, IllegalMetric, IllegalIndexType, IllegalTopK, IllegalRows, IllegalIds]
    assert [kind.code for kind in kinds] == [7, 5, 23, 8, 10, 11, 12]
    assert PartitionError.code is Code.UNEXPECTED_ERROR


def test_the_ends_of_every_range_pass():
    for dimension in (1, 32768):
        limits.check_dimension(dimension, MetricType.IP)
    limits.check_dimension(8, MetricType.JACCARD)
    limits.check_dimension(12, 99)  # the metric is judged later
    for megabytes in (1, 4096):
        limits.check_index_file_size(megabytes)
    for topk in (1, 16384):
        limits.check_topk(topk)
    for count in (1, 1000):
        limits.check_id_count(count)
    limits.check_insert_ids(0, 3)
    limits.check_insert_ids(3, 3)
    limits.check_insert_size(256 << 20)
    limits.check_partition_count(4095)
    limits.check_search_files(65536)


def test_all_seven_metrics_exist():
    assert [limits.check_metric(number) for number in range(1, 8)] == list(MetricType)


def test_index_types_come_back_as_the_catalog_keeps_them():
    floats = {number: limits.check_index_type(number, MetricType.L2) for number in (1, 2, 3, 4, 6, 9, 10, 11, 12)}
    assert floats == {
        1: IndexType.FLAT,
        2: IndexType.IVF_FLAT,
        3: IndexType.IVF_SQ8,
        4: IndexType.RNSG,
        6: IndexType.IVF_PQ,
        9: IndexType.FLAT,
        10: IndexType.IVF_FLAT,
        11: IndexType.HNSW,
        12: IndexType.ANNOY,
    }
    assert limits.check_index_type(1, MetricType.HAMMING) is IndexType.BIN_FLAT
    assert limits.check_index_type(2, MetricType.HAMMING) is IndexType.BIN_IVF_FLAT
    assert limits.check_index_type(11, MetricType.HAMMING) is IndexType.HNSW
