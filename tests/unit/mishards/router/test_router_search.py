from __future__ import annotations

import json

import numpy as np
import pytest

from mishards.catalog.records import FileType
from mishards.deadline import Deadline
from mishards.errors import Code, NodeRejected, RpcStatus, not_found_text
from mishards.kinds import IndexType, MetricType
from mishards.testing.cluster import InProcessCluster, rows_of, running_cluster, search_param
from mishards.testing.world import truth
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(7)


def vectors(count: int, dimension: int = 4) -> np.ndarray:
    return CHANCE.standard_normal((count, dimension)).astype(np.float32)


def fill(cluster: InProcessCluster, name: str = "words", segments: int = 6, rows: int = 20) -> None:
    cluster.world.create(name)
    for segment in range(segments):
        cluster.world.add(name, range(segment * rows, (segment + 1) * rows), vectors(rows))


async def assert_right(
    cluster: InProcessCluster, name: str = "words", topk: int = 10, tags: tuple[str, ...] = ()
) -> None:
    queries = vectors(3)
    reply = await cluster.search(name, queries, topk)
    assert reply.status.error_code == 0, reply.status.reason
    ids, distances = rows_of(reply)
    expected = truth(cluster.world, name, queries, topk)
    assert ids == expected["ids"]
    np.testing.assert_allclose(distances, expected["distances"], rtol=1e-5)


async def test_a_search_over_many_nodes_answers_what_one_node_would() -> None:
    async with running_cluster(readers=3) as cluster:
        fill(cluster, segments=9)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        assert len(cluster.searched()) == 3


async def test_every_file_is_asked_for_exactly_once_and_never_an_empty_list() -> None:
    async with running_cluster(readers=5) as cluster:
        fill(cluster, segments=3)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        asked = [ids for calls in cluster.searched().values() for ids in calls]
        assert all(asked)
        assert sorted(int(file) for ids in asked for file in ids) == sorted(cluster.world.files)


async def test_the_clients_own_bytes_travel_on_untouched() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        raw = search_param("words", vectors(2), 5).SerializeToString() + b"\xf2\x3f\x03abc"  # and a field nobody knows
        await cluster.call("Search", raw)
        calls = [call for _, call in cluster.network.calls("SearchInFiles")]
        assert calls
        assert all(call.request.endswith(raw) for call in calls)


async def test_with_one_segment_the_nodes_reply_is_handed_on_as_it_is() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=1)
        await cluster.snapshot_newer()
        reply = pb.TopKQueryResult(row_num=1, ids=[5], distances=[0.5])
        for node in cluster.nodes.values():
            node.replies = [reply.SerializeToString()]
        assert await cluster.search("words", vectors(1), 1) == reply


async def test_fewer_rows_than_topk_give_all_rows_and_nothing_else() -> None:
    async with running_cluster(readers=3) as cluster:
        fill(cluster, segments=3, rows=2)
        await cluster.snapshot_newer()
        await assert_right(cluster, topk=100)


async def test_inner_products_rank_the_larger_first_and_padding_last() -> None:
    async with running_cluster(readers=3) as cluster:
        cluster.world.create("ip", metric=MetricType.IP)
        for segment in range(4):
            cluster.world.add("ip", [segment * 2, segment * 2 + 1], vectors(2))
        await cluster.snapshot_newer()
        await assert_right(cluster, "ip", topk=50)


async def test_partitions_are_selected_by_tag_pattern_and_default() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=2)
        for tag in ("p1", "p2", "other"):
            cluster.world.add(cluster.world.partition("words", tag), [1000 + len(tag)], vectors(1))
        await cluster.snapshot_newer()
        queries = vectors(2)
        for tags, wanted in ((("p.*",), ["p1", "p2"]), (("_default",), ["_default"]), (("other", "none"), ["other"])):
            ids, _ = rows_of(await cluster.search("words", queries, 10, tags))
            assert ids == truth(cluster.world, "words", queries, 10, wanted)["ids"]


async def test_without_segments_a_search_succeeds_with_no_rows_and_asks_nobody() -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.world.create("empty")
        await cluster.snapshot_newer()
        reply = await cluster.search("empty", vectors(2), 10)
        assert (reply.status.error_code, reply.status.reason, reply.row_num, len(reply.ids)) == (0, "OK", 0, 0)
        assert not cluster.searched()


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (search_param("", vectors(1), 1), Code.ILLEGAL_COLLECTION_NAME, "Collection name should not be empty."),
        (search_param("words", vectors(1), 0), Code.ILLEGAL_TOPK, "Invalid topk: 0"),
        (search_param("words", vectors(1), 16385), Code.ILLEGAL_TOPK, "Invalid topk: 16385"),
        (search_param("words", vectors(1), 1, [" "]), Code.UNEXPECTED_ERROR, "Invalid partition tag"),
        (search_param("absent", vectors(1), 1), Code.COLLECTION_NOT_EXISTS, not_found_text("absent")),
        (search_param("words", vectors(0), 1), Code.ILLEGAL_ROWRECORD, "The vector array is empty."),
        (search_param("words", vectors(1, 5), 1), Code.ILLEGAL_DIMENSION, "The vector dimension must be equal"),
        (search_param("words", vectors(1), 1, ["p9"]), Code.UNEXPECTED_ERROR, "The specified partition does not exist"),
        (search_param("absent", vectors(0), 0, [" "]), Code.ILLEGAL_TOPK, "Invalid topk: 0"),
        (search_param("words", vectors(1, 5), 1, ["p9"]), Code.ILLEGAL_DIMENSION, "The vector dimension"),
    ],
)
async def test_bad_requests_get_the_protocols_answer_with_and_without_data(
    filled: bool, request_: pb.SearchParam, code: int, reason: str
) -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=4 if filled else 0)
        await cluster.snapshot_newer()
        reply = await cluster.call("Search", request_)
        assert isinstance(reply, pb.TopKQueryResult)
        assert reply.status.error_code == code
        assert reply.status.reason.startswith(reason)


@pytest.mark.parametrize("filled", [True, False])
async def test_index_parameters_are_checked_against_the_collections_index(filled: bool) -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.world.create("ivf", index_type=IndexType.IVF_FLAT)
        if filled:
            cluster.world.add("ivf", [1], vectors(1))
        await cluster.snapshot_newer()
        reply = await cluster.search("ivf", vectors(1), 1)
        assert (reply.status.error_code, reply.status.reason) == (5, "Parameter list must contain: nprobe")


async def test_malformed_parameters_and_requests_end_as_grpc_statuses() -> None:
    async with running_cluster(readers=1) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        with pytest.raises(NodeRejected) as params:
            await cluster.search("words", vectors(1), 1, params="{not json")
        assert params.value.status is RpcStatus.UNKNOWN
        with pytest.raises(NodeRejected) as torn:
            await cluster.call("Search", search_param("words", vectors(1), 1).SerializeToString()[:-3])
        assert torn.value.status is RpcStatus.INVALID_ARGUMENT
        with pytest.raises(NodeRejected) as unknown:
            await cluster.network.channel("router:1").call("HybridSearch", b"", deadline=Deadline.after(5))
        assert unknown.value.status is RpcStatus.UNIMPLEMENTED


async def test_without_readers_the_writable_node_is_searched() -> None:
    async with running_cluster(readers=0) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        assert set(cluster.searched()) == {"writer"}


async def test_readers_are_searched_and_the_writable_node_is_left_alone() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        assert "writer" not in cluster.searched()


async def test_one_file_of_a_segment_is_searched_while_its_index_is_being_switched() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=2)
        raw = next(iter(cluster.world.files.values()))
        index = cluster.world.add_file("words", raw.segment_id, FileType.INDEX)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        asked = {int(file) for calls in cluster.searched().values() for ids in calls for file in ids}
        assert index.id in asked
        assert raw.id not in asked


async def test_a_metric_override_turns_the_order_of_the_merge() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=2)
        await cluster.snapshot_newer()
        for number, node in enumerate((cluster.nodes["reader-1"], cluster.nodes["reader-2"])):
            reply = pb.TopKQueryResult(row_num=1, ids=[number, 10 + number], distances=[9.0 + number, 1.0 + number])
            node.replies = [reply.SerializeToString()]
        params = json.dumps({"metric_type": int(MetricType.IP)})
        ids, distances = rows_of(await cluster.search("words", vectors(1), 3, params=params))
        assert (ids, distances) == ([[1, 0, 11]], [[10.0, 9.0, 2.0]])


async def test_a_collection_made_anew_with_another_metric_is_searched_by_the_new_one() -> None:
    async with running_cluster(readers=2) as cluster:
        fill(cluster, segments=4)
        await cluster.snapshot_newer()
        await assert_right(cluster)
        cluster.world.drop("words")
        cluster.world.create("words", metric=MetricType.IP)
        for segment in range(4):
            cluster.world.add("words", [segment], vectors(1))
        await cluster.snapshot_newer()
        await assert_right(cluster)


async def test_ids_that_occur_in_several_segments_are_all_kept() -> None:
    async with running_cluster(readers=3) as cluster:
        cluster.world.create("words")
        row = vectors(1)
        for _ in range(5):
            cluster.world.add("words", [42], row)
        await cluster.snapshot_newer()
        ids, _ = rows_of(await cluster.search("words", row, 10))
        assert ids == [[42] * 5]
