"""What a writable node answers over rows that are in no segment yet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.node_rpc import Rpc, floats, ok, records, search_param, status
from mishards.errors import MalformedReply
from mishards.wire.extensions import CAPABILITIES_COMMAND, GROWING, GROWING_KEY
from mishards.wire.growing import Cut, split_cut, with_cut
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.results import encode_result


def growing(rpc: Rpc, vectors: Any, topk: int = 3, position: int = 0, **fields: Any) -> tuple[Cut, Any]:
    """Search the growing rows: the cut, and the reply without it."""
    param = search_param(vectors, topk, **fields)
    raw = rpc._loop.run_until_complete(rpc.begin("Search", param, [(GROWING_KEY, str(position))]))
    cut, reply = split_cut(raw)
    assert pb.TopKQueryResult.FromString(raw).ids == pb.TopKQueryResult.FromString(reply).ids, "clients pass over it"
    return cut, pb.TopKQueryResult.FromString(reply)


def insert(rpc: Rpc, vectors: Any, ids: list[int], tag: str = "") -> None:
    ok(rpc.Insert(collection_name="words", row_record_array=records(vectors), row_id_array=ids, partition_tag=tag))


def ids_of(reply: Any) -> list[int]:
    return [number for number in reply.ids if number != -1]


def test_only_a_writable_node_says_that_it_has_growing_rows(rpc: Rpc, reader: Rpc) -> None:
    def said(node: Rpc) -> bool:
        return GROWING in json.loads(node.Cmd(cmd=CAPABILITIES_COMMAND).string_reply)["capabilities"]

    assert (said(rpc), said(reader)) == (True, False)


def test_growing_rows_are_those_that_no_segment_has(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2), [1, 2])
    flushed_to = rpc.node._catalog.known().collection("words").table.flush_lsn
    insert(rpc, floats(3, 4), [3, 4])
    cut, reply = growing(rpc, floats(4), 10, flushed_to)
    assert (ids_of(reply), list(reply.distances[:2])) == ([4, 3], [0.0, 4.0])
    assert (cut.position, cut.head > flushed_to) == (flushed_to, True)
    ok(rpc.Flush(collection_name_array=["words"]))
    after, nothing = growing(rpc, floats(4), 10, flushed_to)
    assert (ids_of(nothing), after.position, after.head) == ([], cut.head, cut.head)
    assert after.revision > cut.revision


def test_a_router_that_knows_a_newer_catalog_gets_the_rows_behind_its_own_position(rpc: Rpc) -> None:
    rpc.create()
    insert(rpc, floats(1), [1])
    between = growing(rpc, floats(1))[0].head
    insert(rpc, floats(2), [2])
    cut, reply = growing(rpc, floats(1), 10, between)
    assert (ids_of(reply), cut.position) == ([2], between)


def test_deletes_take_growing_rows_away_and_are_named_for_rows_in_segments(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2), [1, 2])
    insert(rpc, floats(3, 4, 4), [3, 4, 4])
    ok(rpc.DeleteByID(collection_name="words", id_array=[4, 1, 9]))
    insert(rpc, floats(5), [4])
    cut, reply = growing(rpc, floats(4))
    assert sorted(ids_of(reply)) == [3, 4]
    assert list(reply.distances[:2]) == [4.0, 4.0]
    assert cut.deleted.tolist() == [1, 4, 9]


def test_the_tags_of_a_search_choose_among_growing_rows_too(rpc: Rpc) -> None:
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="a1"))
    insert(rpc, floats(1), [1])
    insert(rpc, floats(1), [2], tag="a1")
    ok(rpc.DeleteByID(collection_name="words", id_array=[7], partition_tag="a1"))
    assert ids_of(growing(rpc, floats(1))[1]) == [1, 2]
    cut, reply = growing(rpc, floats(1), tags=["a.*"])
    assert (ids_of(reply), cut.deleted.tolist()) == ([2], [7])
    cut, reply = growing(rpc, floats(1), tags=["_default"])
    assert (ids_of(reply), cut.deleted.tolist()) == ([1], [])
    reply = rpc.call("Search", search_param(floats(1), tags=["none"]), [(GROWING_KEY, "0")])
    assert status(reply) == (1, "The specified partition does not exist")


def test_growing_binary_rows_are_compared_by_their_metric(rpc: Rpc) -> None:
    rpc.create(dimension=16, metric=3)
    codes = np.array([[0, 0], [255, 0], [255, 255]], np.uint8)
    insert(rpc, codes, [1, 2, 3])
    _, reply = growing(rpc, codes[2:], 2)
    assert (ids_of(reply), list(reply.distances)) == ([3, 2], [0.0, 8.0])


def test_growing_rows_are_searched_by_the_metric_of_the_request(rpc: Rpc) -> None:
    rpc.create()
    insert(rpc, floats(1, 2, 3), [1, 2, 3])
    _, reply = growing(rpc, floats(1), 2, json='{"metric_type": 2}')
    assert (ids_of(reply), list(reply.distances)) == ([3, 2], [12.0, 8.0])


def test_growing_rows_are_refused_as_any_search_is(rpc: Rpc) -> None:
    def refused(param: Any, position: str = "0") -> int:
        return status(rpc.call("Search", param, [(GROWING_KEY, position)]))[0]

    assert refused(search_param(floats(1))) == 4
    rpc.create()
    assert refused(search_param(floats(1), 0)) == 10
    assert refused(search_param(np.ones((1, 5), np.float32))) == 7
    assert refused(search_param(floats(1)), "-1") == 5
    ok(
        rpc.CreateIndex(
            collection_name="words", index_type=2, extra_params=[pb.KeyValuePair(key="params", value='{"nlist": 4}')]
        )
    )
    assert refused(search_param(floats(1))) == 5
    assert refused(search_param(floats(1), json='{"nprobe": 2}')) == 0


def test_without_the_metadata_a_writable_node_searches_segments_as_ever(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1), [1])
    insert(rpc, floats(2), [2])
    assert ids_of(rpc.search(floats(2))) == [1]


@pytest.mark.parametrize("torn", [0, 1, 2, 3, 10, 26, 27, 34])
def test_a_reply_that_does_not_say_what_it_covers_is_not_believed(torn: int) -> None:
    whole = with_cut(Cut(1, 2, 3, np.array([5])), b"")
    assert len(whole) == 35
    with pytest.raises(MalformedReply, match="growing rows came back"):
        split_cut(whole[:torn])


def test_a_cut_whose_size_is_none_is_not_believed() -> None:
    assert split_cut(with_cut(Cut(1, 2, 3, np.empty(0, np.int64)), encode_result(None)))[1] == encode_result(None)
    with pytest.raises(MalformedReply, match="25 bytes"):
        split_cut(b"\xc2\x3e\x19" + bytes(25))
