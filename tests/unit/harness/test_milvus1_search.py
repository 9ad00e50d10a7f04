"""Searches of the double by file id and by collection, and the shape of what comes back."""

from __future__ import annotations

import numpy as np
import pytest

from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import Cluster
from harness.milvus1.kinds import FLOAT_MAX, Engine, Metric
from harness.milvus1.scan import distances, merged
from harness.vectors import bits, gaussian, inner_product, nearest, squared_l2
from mishards.wire.protos.milvus_pb2 import PartitionParam

ROWS = gaussian(60, 8)


def filled(cluster: Cluster, metric: Metric = Metric.L2) -> None:
    """Make collection ``c`` of two segments of 30 rows, ids 0 to 59, at row ids 1 and 2."""
    _, client = cluster.start("rw")
    client.create("c", 8, metric)
    for half in (range(30), range(30, 60)):
        client.insert("c", ROWS[half], half)
        client.flush("c")


def test_a_file_is_chosen_by_its_row_id_in_decimal(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    assert reader.search_files("c", [1], ROWS[:1], 1).ids == [[0]]
    found = reader.search_files("c", [2], ROWS[:1], 30)
    assert set(found.ids[0]) == set(range(30, 60))


def test_segment_ids_are_no_row_ids(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    segment = cluster.rows("SELECT segment_id FROM TableFiles")[0][0]
    found = reader.search_files("c", [segment], ROWS[:1], 1)
    assert (found.code, found.reason) == (1, "Invalid file id")


def test_an_empty_list_searches_the_whole_collection(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    assert reader.search_files("c", [], ROWS[40:41], 5) == reader.search("c", ROWS[40:41], 5)
    assert reader.search_files("c", [], ROWS[40:41], 1).ids == [[40]]


def test_unknown_ids_are_left_out_without_a_word_and_doubled_ones_count_once(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    found = reader.search_files("c", [1, 999, 1], ROWS[:1], 60)
    assert (found.code, found.reason) == (0, "OK")
    assert sorted(found.ids[0]) == [-1, *range(30)]


def test_only_unknown_ids_are_refused(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    found = reader.search_files("c", [7, 8], ROWS[:1], 1)
    assert (found.code, found.reason) == (1, "Invalid file id")


@pytest.mark.parametrize("text", ["abc", "", "99999999999999999999999"])
def test_what_is_no_number_fails_as_stoul_does(cluster: Cluster, text: str) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    found = reader.search_files("c", ["1", text], ROWS[:1], 1)
    assert (found.code, found.reason) == (1, "stoul")


def test_what_follows_a_number_is_ignored_as_stoul_does(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    assert reader.search_files("c", [" 2x"], ROWS[40:41], 1).ids == [[40]]


@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP])
def test_hits_are_those_of_brute_force(cluster: Cluster, metric: Metric) -> None:
    filled(cluster, metric)
    _, reader = cluster.start("ro")
    measure = inner_product if metric is Metric.IP else squared_l2
    queries = gaussian(3, 8, seed=9)
    ids, values = nearest(measure(queries, ROWS), 10, largest_first=metric is Metric.IP)
    found = reader.search_files("c", [1, 2], queries, 10)
    assert found.ids == ids.tolist()
    np.testing.assert_allclose(found.distances, values, rtol=1e-6)


def test_a_row_is_one_wider_than_what_there_is_and_ends_in_a_placeholder(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", gaussian(1000, 8), range(1000))
    client.flush()
    _, reader = cluster.start("ro")
    found = reader.search_files("c", [1], gaussian(2, 8, seed=5), 1200)
    assert [len(row) for row in found.ids] == [1001, 1001]
    assert [row[-1] for row in found.ids] == [-1, -1]
    assert [row[-1] for row in found.distances] == [FLOAT_MAX, FLOAT_MAX]
    assert sorted(found.ids[0][:-1]) == list(range(1000))


def test_the_width_is_each_node_s_own(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    assert len(reader.search_files("c", [1, 2], ROWS[:1], 40).ids[0]) == 40
    assert len(reader.search_files("c", [1], ROWS[:1], 40).ids[0]) == 31


def test_the_placeholder_is_at_the_largest_number_for_inner_products_too(cluster: Cluster) -> None:
    filled(cluster, Metric.IP)
    _, reader = cluster.start("ro")
    found = reader.search_files("c", [1], ROWS[:1], 100)
    assert (found.ids[0][-1], found.distances[0][-1]) == (-1, FLOAT_MAX)
    assert found.distances[0][:-1] == sorted(found.distances[0][:-1], reverse=True)


def test_segments_of_which_all_is_deleted_give_one_column_of_placeholders(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS, range(60))
    client.flush("c")
    client.delete("c", range(60))
    client.flush("c")
    found = client.search("c", ROWS[:2], 5)
    assert (found.row_num, found.ids) == (2, [[-1], [-1]])


def test_no_segments_give_no_rows_whatever_the_number_of_queries(cluster: Cluster) -> None:
    _, client = cluster.start("rw")
    client.create("c", 8)
    found = client.search("c", ROWS[:3], 5)
    assert (found.code, found.row_num, found.ids) == (0, 0, [])


def indexed_by_hnsw(client: NodeClient) -> None:
    """Make collection ``c`` of two segments with an HNSW index; the first one, ids 0 to 29, is far from the second."""
    client.create("c", 8)
    client.insert("c", ROWS[:30] + 100, range(30))
    client.flush("c")
    client.insert("c", ROWS[30:], range(30, 60))
    client.flush("c")
    assert client.create_index("c", Engine.HNSW, '{"M":16,"efConstruction":40}').reason == "OK"


def test_hnsw_fills_a_short_row_at_distance_minus_one_which_pushes_out_real_hits(cluster: Cluster) -> None:
    _, client = cluster.start("rw", merges=(), approximate_hits=2)
    indexed_by_hnsw(client)
    found = client.search("c", ROWS[40:41], 6, '{"ef":16}')
    assert found.ids[0][0] == 40
    assert found.ids[0][2:] == [-1] * 4
    assert found.distances[0][2:] == [-1.0] * 4


def test_without_that_padding_the_hits_of_both_segments_come_first(cluster: Cluster) -> None:
    _, client = cluster.start("rw", merges=(), approximate_hits=2, hnsw_pads_with_minus_one=False)
    indexed_by_hnsw(client)
    found = client.search("c", ROWS[40:41], 6, '{"ef":16}')
    assert -1 not in found.ids[0][:4]
    assert found.ids[0][4:] == [-1, -1]
    assert set(found.distances[0][4:]) == {FLOAT_MAX}


def test_a_flat_collection_takes_another_metric_for_one_search(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    query = gaussian(1, 8, seed=3)
    ids, _ = nearest(inner_product(query, ROWS), 10, largest_first=True)
    assert reader.search_files("c", [1, 2], query, 10, '{"metric_type":2}').ids == ids.tolist()


def test_a_metric_of_the_other_kind_is_refused(cluster: Cluster) -> None:
    filled(cluster)
    _, reader = cluster.start("ro")
    assert reader.search("c", ROWS[:1], 1, '{"metric_type":4}').code == 5


def test_tags_are_regular_expressions_over_the_whole_tag_and_files_ignore_them(cluster: Cluster) -> None:
    filled(cluster)
    _, client = cluster.start("ro")
    assert client.call("CreatePartition", PartitionParam(collection_name="c", tag="p1")).reason == "OK"
    assert client.search("c", ROWS[:1], 1, tags=["p.*"]).row_num == 0
    assert client.search("c", ROWS[:1], 1, tags=["_default"]).ids == [[0]]
    assert client.search("c", ROWS[:1], 1, tags=["nothing"]).reason == "The specified partition does not exist"


def test_binary_metrics_are_those_of_the_bits() -> None:
    rows, query = bits(20, 64), bits(1, 64, seed=2)[0]
    joint = np.unpackbits(query & rows, axis=1).sum(axis=1) / np.unpackbits(query | rows, axis=1).sum(axis=1)
    np.testing.assert_allclose(distances(Metric.TANIMOTO, query, rows), -np.log2(joint), rtol=1e-5)
    np.testing.assert_allclose(distances(Metric.JACCARD, query, rows), 1 - joint, rtol=1e-5)
    inside = query & rows[0]
    assert distances(Metric.SUBSTRUCTURE, inside, rows[:1]).tolist() == [0.0]
    assert np.isnan(distances(Metric.SUBSTRUCTURE, rows[0], np.zeros_like(rows[:1]))).all()
    assert distances(Metric.SUPERSTRUCTURE, rows[0], inside[None]).tolist() == [0.0]


def test_a_merge_keeps_the_earlier_segment_s_hit_and_both_of_two_equal_ids() -> None:
    first, second = [(1, 0.5), (2, 0.5)], [(1, 0.5), (3, 0.1)]
    assert merged(first, second[1:], 3, larger_first=False) == [(3, 0.1), (1, 0.5), (2, 0.5)]
    assert merged(first, second[:1], 9, larger_first=False) == [(1, 0.5), (2, 0.5), (1, 0.5)]
