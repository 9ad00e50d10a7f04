from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.node_rpc import Rpc, floats, ok, records, status

NO_PARTITION = (1, "The specified partition does not exist")


def vectors_of(reply: Any) -> list[list[float]]:
    return [list(record.float_data) for record in ok(reply).vectors_data]


# --- inserts and deletes ---------------------------------------------------------------------------------------------


def test_rows_count_once_they_are_flushed(rpc: Rpc) -> None:
    rpc.create()
    ids = list(ok(rpc.Insert(collection_name="words", row_record_array=records(floats(1, 2)))).vector_id_array)
    assert ids == sorted(set(ids))
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 0
    ok(rpc.Flush())
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 2


EMPTY = (11, "The vector array is empty. Make sure you have entered vector records.")
SIZES = (12, "The size of vector ID array must be equal to the size of the vector.")
WIDTH = (7, "The vector dimension must be equal to the collection dimension.")
GENERATED = (12, "Entities IDs are auto-generated. All vectors of this collection must use auto-generated IDs.")
USER = (12, "Entities IDs are user-defined. Please provide IDs for all entities of the collection.")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"collection_name": "gone"}, EMPTY),
        ({"collection_name": "gone", "row_record_array": records(floats(1)), "row_id_array": [1, 2]}, SIZES),
        ({"row_record_array": records(np.ones((1, 5), np.float32))}, WIDTH),
        ({"row_record_array": records(np.ones((1, 4), np.uint8))}, WIDTH),
        (
            {"row_record_array": records(floats(1)), "partition_tag": "p"},
            (1, "Collection words's partition p not found"),
        ),
    ],
)
def test_an_insert_is_checked_in_the_protocols_order(
    rpc: Rpc, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    rpc.create()
    assert status(rpc.Insert(**{"collection_name": "words", **fields})) == expected


@pytest.mark.parametrize(("first", "second", "expected"), [([1], [], USER), ([], [1], GENERATED)])
def test_who_gives_the_ids_is_looked_at_before_the_vectors(
    rpc: Rpc, first: list[int], second: list[int], expected: tuple[int, str]
) -> None:
    rpc.create()
    rpc.insert(floats(1), first)
    narrow = records(np.ones((1, 3), np.float32))
    reply = rpc.Insert(collection_name="words", row_record_array=narrow, row_id_array=second)
    assert status(reply) == expected


def test_deleted_rows_are_gone_after_the_next_flush_wherever_they_were(rpc: Rpc) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    rpc.insert(floats(1, 2), [1, 2])
    rpc.insert(floats(1, 3), [1, 3], tag="p")
    ok(rpc.DeleteByID(collection_name="words", id_array=[1, 99]))
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 4
    ok(rpc.Flush())
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 2
    ok(rpc.DeleteByID(collection_name="words", id_array=[]))
    assert status(rpc.DeleteByID(collection_name="gone", id_array=[1]))[0] == 4


def test_flush_stops_at_the_first_unknown_name(rpc: Rpc) -> None:
    for name in ("a", "b"):
        rpc.create(name)
        ok(rpc.Insert(collection_name=name, row_record_array=records(floats(1))))
    assert status(rpc.Flush(collection_name_array=["a", "1 bad", "b"]))[0] == 4
    assert ok(rpc.CountCollection(collection_name="a")).collection_row_count == 1
    assert ok(rpc.CountCollection(collection_name="b")).collection_row_count == 0


def test_compact_does_not_flush_and_changes_no_answer(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2, 3), [1, 2, 3])
    before = rpc.file_ids()
    ok(rpc.DeleteByID(collection_name="words", id_array=[1]))
    ok(rpc.Compact(collection_name="words"))
    assert rpc.file_ids() == before
    ok(rpc.Flush())
    ok(rpc.Compact(collection_name="words"))
    assert rpc.file_ids() != before
    assert ok(rpc.CountCollection(collection_name="words")).collection_row_count == 2


# --- vectors by id ---------------------------------------------------------------------------------------------------


def test_vectors_come_in_the_order_asked_with_an_empty_record_for_what_is_not_there(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2), [1, 2])
    rpc.insert(floats(3), [3])
    ok(rpc.DeleteByID(collection_name="words", id_array=[2]))
    ok(rpc.Flush())
    reply = rpc.GetVectorsByID(collection_name="words", id_array=[3, 9, 1, 2, 3])
    assert vectors_of(reply) == [[3.0] * 4, [], [1.0] * 4, [], [3.0] * 4]


def test_vectors_are_those_that_were_stored_bit_by_bit(rpc: Rpc) -> None:
    rpc.create("bits", dimension=16, metric=3)
    rows = np.array([[0xFF, 0x01], [0x00, 0x80]], np.uint8)
    rpc.insert(rows, [1, 2], name="bits")
    found = ok(rpc.GetVectorsByID(collection_name="bits", id_array=[2, 1])).vectors_data
    assert [record.binary_data for record in found] == [b"\x00\x80", b"\xff\x01"]


def test_of_rows_with_the_same_id_the_first_is_given(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2), [7, 7])
    rpc.insert(floats(3), [7])
    assert vectors_of(rpc.GetVectorsByID(collection_name="words", id_array=[7])) == [[1.0] * 4]


def test_partitions_are_looked_in_by_their_tag(rpc: Rpc) -> None:
    rpc.create()
    for tag, value in (("p1", 1), ("p2", 2), ("", 3)):
        if tag:
            ok(rpc.CreatePartition(collection_name="words", tag=tag))
        rpc.insert(floats(value), [value], tag=tag)
    for tag, found in [("p1", 1), (" p2 ", 2), ("_default", 3), ("p[12]", 2)]:
        expected = [[float(found)] * 4]
        assert vectors_of(rpc.GetVectorsByID(collection_name="words", id_array=[found], partition_tag=tag)) == expected
    assert vectors_of(rpc.GetVectorsByID(collection_name="words", id_array=[3], partition_tag="p1")) == [[]]
    assert status(rpc.GetVectorsByID(collection_name="words", id_array=[1], partition_tag="q")) == NO_PARTITION


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"collection_name": "1bad"}, (5, "No vector id specified")),
        ({"collection_name": "1bad", "id_array": range(1001)}, (5, "Input id array size cannot exceed: 1000")),
        ({"id_array": [1]}, (1, "Collection or partition is empty")),
    ],
)
def test_a_request_for_vectors_is_checked_in_the_protocols_order(
    rpc: Rpc, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    rpc.create()
    assert status(rpc.GetVectorsByID(**{"collection_name": "words", **fields})) == expected


# --- ids of a segment ------------------------------------------------------------------------------------------------


def test_the_ids_of_a_segment_come_in_row_order_without_deleted_ones(rpc: Rpc) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    rpc.insert(floats(1, 2, 3), [30, 10, 20], tag="p")
    ok(rpc.DeleteByID(collection_name="words", id_array=[10]))
    ok(rpc.Flush())
    (segment,) = rpc.node._catalog.refreshed().collection("words").segments
    reply = ok(rpc.GetVectorIDs(collection_name="words", segment_name=segment.segment_id))
    assert list(reply.vector_id_array) == [30, 20]


def test_a_segment_of_another_collection_and_one_of_none_are_told_apart(rpc: Rpc) -> None:
    rpc.create()
    rpc.create("other")
    rpc.insert(floats(1), [1], name="other")
    (segment,) = rpc.node._catalog.refreshed().collection("other").segments
    wrong = rpc.GetVectorIDs(collection_name="words", segment_name=segment.segment_id)
    assert status(wrong) == (1, "Segment does not belong to this collection")
    for name in ("123", "", "../../etc"):
        gone = rpc.GetVectorIDs(collection_name="words", segment_name=name)
        assert status(gone) == (1, "Segment does not exist")
