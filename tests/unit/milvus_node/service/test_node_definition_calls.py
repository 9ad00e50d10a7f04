from __future__ import annotations

import json
from typing import Any

import pytest

from harness.node_rpc import Rpc, floats, ok, status
from mishards.errors import not_found_text
from mishards.wire.protos import milvus_pb2 as pb

OK = (0, "OK")


def params(text: str) -> list[Any]:
    return [pb.KeyValuePair(key="params", value=text)]


def test_a_collection_is_described_as_it_was_made(rpc: Rpc) -> None:
    rpc.create("bits", dimension=64, metric=3, megabytes=7)
    found = ok(rpc.DescribeCollection(collection_name="bits"))
    assert (found.collection_name, found.dimension, found.metric_type, found.index_file_size) == ("bits", 64, 3, 7)
    assert list(found.extra_params) == []
    assert ok(rpc.HasCollection(collection_name="bits")).bool_reply
    assert not ok(rpc.HasCollection(collection_name="other")).bool_reply


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"collection_name": "1bad", "dimension": 0, "index_file_size": 0, "metric_type": 9}, 9),
        ({"collection_name": "good", "dimension": 0, "index_file_size": 0, "metric_type": 9}, 7),
        ({"collection_name": "good", "dimension": 4, "index_file_size": 0, "metric_type": 9}, 5),
        ({"collection_name": "good", "dimension": 4, "index_file_size": 1, "metric_type": 9}, 23),
        ({"collection_name": "good", "dimension": 4, "index_file_size": 1, "metric_type": 3}, 7),
        ({"collection_name": "taken", "dimension": 4, "index_file_size": 1, "metric_type": 1}, 9),
    ],
)
def test_a_new_collection_is_checked_in_the_protocols_order(rpc: Rpc, fields: dict[str, Any], code: int) -> None:
    rpc.create("taken")
    assert status(rpc.CreateCollection(**fields))[0] == code
    assert list(ok(rpc.ShowCollections()).collection_names) == ["taken"]


def test_the_text_of_a_taken_name_is_the_protocols(rpc: Rpc) -> None:
    rpc.create()
    reply = rpc.CreateCollection(collection_name="words", dimension=4, index_file_size=1, metric_type=1)
    assert status(reply) == (9, "Collection already exists")


def test_collections_are_listed_in_order_of_creation_without_partitions(rpc: Rpc) -> None:
    for name in ("c", "a", "b"):
        rpc.create(name)
    ok(rpc.CreatePartition(collection_name="a", tag="p"))
    assert list(ok(rpc.ShowCollections()).collection_names) == ["c", "a", "b"]
    ok(rpc.DropCollection(collection_name="a"))
    assert list(ok(rpc.ShowCollections()).collection_names) == ["c", "b"]


@pytest.mark.parametrize(
    "method",
    [
        "DescribeCollection",
        "CountCollection",
        "ShowCollectionInfo",
        "DropCollection",
        "DescribeIndex",
        "DropIndex",
        "CreateIndex",
        "ShowPartitions",
        "HasPartition",
        "CreatePartition",
        "DropPartition",
        "Compact",
        "PreloadCollection",
        "ReleaseCollection",
    ],
)
def test_an_unknown_collection_and_a_bad_name_are_told_apart(rpc: Rpc, method: str) -> None:
    more: dict[str, Any] = {"tag": "p"} if "Partition" in method and method != "ShowPartitions" else {}
    if method == "CreateIndex":
        more = {"index_type": 1, "extra_params": params("{}")}
    assert status(getattr(rpc, method)(collection_name="gone", **more)) == (4, not_found_text("gone"))
    assert status(getattr(rpc, method)(collection_name="1bad", **more))[0] == 9


def test_info_lists_partitions_and_segments_as_sorted_json_without_blanks(rpc: Rpc) -> None:
    rpc.create(dimension=8)
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    rows = [[float(i)] * 8 for i in range(5)]
    rpc.insert(rows, [1, 2, 3, 4, 5])
    ok(rpc.DeleteByID(collection_name="words", id_array=[1]))
    ok(rpc.Flush(collection_name_array=["words"]))
    text = ok(rpc.ShowCollectionInfo(collection_name="words")).json_info
    (segment,) = rpc.node._catalog.refreshed().collection("words").segments
    expected = {
        "partitions": [
            {
                "row_count": 4,
                "segments": [
                    {"data_size": 200, "index_name": "IDMAP", "name": segment.segment_id, "row_count": 4},
                ],
                "tag": "_default",
            },
            {"row_count": 0, "segments": None, "tag": "p"},
        ],
        "row_count": 4,
    }
    assert text == json.dumps(expected, separators=(",", ":"))
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 4


# --- partitions ------------------------------------------------------------------------------------------------------


def test_partitions_are_listed_behind_the_default_one(rpc: Rpc) -> None:
    rpc.create()
    for tag in ("b", " a "):
        ok(rpc.CreatePartition(collection_name="words", tag=tag))
    assert list(ok(rpc.ShowPartitions(collection_name="words")).partition_tag_array) == ["_default", "b", "a"]
    for tag, there in [("a", True), ("\ta\n", True), ("_default", True), ("c", False), ("x" * 500, False)]:
        assert ok(rpc.HasPartition(collection_name="words", tag=tag)).bool_reply is there


@pytest.mark.parametrize(
    ("method", "tag", "expected"),
    [
        ("CreatePartition", "p", (1, "Duplicate partition is not allowed")),
        ("CreatePartition", "_default", (1, "'_default' is built-in partition tag")),
        ("CreatePartition", " ", (1, "Invalid partition tag: . Partition tag should not be empty.")),
        ("DropPartition", "q", (1, "Collection words's partition q not found")),
        ("DropPartition", "_default", (9, "Default partition cannot be dropped.")),
        ("DropPartition", "", (1, "Invalid partition tag: . Partition tag should not be empty.")),
    ],
)
def test_a_tag_that_cannot_be_is_refused_in_the_protocols_words(
    rpc: Rpc, method: str, tag: str, expected: tuple[int, str]
) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    assert status(getattr(rpc, method)(collection_name="words", tag=tag)) == expected


def test_the_rows_of_a_dropped_partition_vanish_at_once(rpc: Rpc) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    rpc.insert(floats(1, 2), [1, 2], tag="p")
    ok(rpc.DropPartition(collection_name="words", tag="p"))
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 0


# --- indexes ---------------------------------------------------------------------------------------------------------


def test_an_index_definition_comes_back_as_it_was_given(rpc: Rpc) -> None:
    rpc.create()
    plain = ok(rpc.DescribeIndex(collection_name="words"))
    assert (plain.index_type, [(p.key, p.value) for p in plain.extra_params]) == (1, [("params", "{}")])
    ok(rpc.CreateIndex(collection_name="words", index_type=11, extra_params=params('{"efConstruction": 40, "M": 16}')))
    found = ok(rpc.DescribeIndex(collection_name="words"))
    assert (found.index_type, [(p.key, p.value) for p in found.extra_params]) == (
        11,
        [("params", '{"M":16,"efConstruction":40}')],
    )
    ok(rpc.DropIndex(collection_name="words"))
    dropped = ok(rpc.DescribeIndex(collection_name="words"))
    assert (dropped.index_type, dropped.extra_params[0].value) == (1, "{}")


def test_binary_indexes_are_told_by_the_numbers_that_clients_know(rpc: Rpc) -> None:
    rpc.create("bits", dimension=64, metric=3)
    assert ok(rpc.DescribeIndex(collection_name="bits")).index_type == 1
    ok(rpc.CreateIndex(collection_name="bits", index_type=2, extra_params=params('{"nlist":16}')))
    assert ok(rpc.DescribeIndex(collection_name="bits")).index_type == 2


@pytest.mark.parametrize(
    ("metric", "index_type", "json_text", "code"),
    [
        (1, 0, "{}", 8),
        (1, 99, "{}", 8),
        (1, 2, '{"nlist":0}', 5),
        (1, 2, "{}", 5),
        (3, 11, '{"M":16,"efConstruction":40}', 8),
        (3, 11, '{"M":1}', 5),  # parameters before the metric
    ],
)
def test_an_index_that_cannot_be_is_refused_and_the_old_one_stays(
    rpc: Rpc, metric: int, index_type: int, json_text: str, code: int
) -> None:
    rpc.create(dimension=8, metric=metric)
    reply = rpc.CreateIndex(collection_name="words", index_type=index_type, extra_params=params(json_text))
    assert status(reply)[0] == code
    assert ok(rpc.DescribeIndex(collection_name="words")).index_type == 1


def test_a_raw_segment_is_shown_by_the_index_it_was_made_under(rpc: Rpc) -> None:
    """As a Milvus server has it: the name of the engine at the time, whether the segment is indexed or not."""
    rpc.create()
    rpc.insert(floats(1), [1])
    ok(rpc.CreateIndex(collection_name="words", index_type=2, extra_params=params('{"nlist":16}')))
    rpc.insert(floats(2), [2])
    ok(rpc.DropIndex(collection_name="words"))
    info = json.loads(ok(rpc.ShowCollectionInfo(collection_name="words")).json_info)
    names = [segment["index_name"] for segment in info["partitions"][0]["segments"]]
    assert names == ["IDMAP"]  # dropping the index merged the two


# --- a read-only node ------------------------------------------------------------------------------------------------


def test_a_read_only_node_sees_definitions_at_once_and_changes_none(rpc: Rpc, reader: Rpc) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    assert ok(reader.DescribeCollection(collection_name="words")).dimension == 4
    assert ok(reader.HasPartition(collection_name="words", tag="p")).bool_reply
    code, reason = status(reader.DropCollection(collection_name="words"))
    assert (code, reason.split(":")[0]) == (3, "DropCollection is refused")
    ok(rpc.DropCollection(collection_name="words"))
    assert status(reader.CountCollection(collection_name="words"))[0] == 4
