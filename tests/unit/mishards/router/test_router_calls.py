"""Everything but searches, through a whole router."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import Message

from mishards.catalog.records import FileType
from mishards.errors import (
    not_found_text,
)
from mishards.kinds import IndexType, MetricType
from mishards.testing.cluster import QUICK, InProcessCluster, rows_of, running_cluster, search_param
from mishards.wire.protos import milvus_pb2 as pb

CHANCE = np.random.default_rng(17)


def vectors(count: int) -> np.ndarray:
    return CHANCE.standard_normal((count, 4)).astype(np.float32)


def named(name: str = "words") -> pb.CollectionName:
    return pb.CollectionName(collection_name=name)


async def filled(cluster: InProcessCluster) -> None:
    cluster.world.create("words", metric=MetricType.IP)
    cluster.world.create("other")
    table = cluster.world.partition("words", "p1")
    cluster.world.add("words", range(10), vectors(10))
    cluster.world.add(table, range(10, 15), vectors(5))
    await cluster.snapshot_newer()


CATALOG_CALLS: list[tuple[str, Message]] = [
    ("HasCollection", named()),
    ("DescribeCollection", named()),
    ("CountCollection", named()),
    ("ShowCollections", pb.Command()),
    ("ShowCollectionInfo", named()),
    ("DescribeIndex", named()),
    ("HasPartition", pb.PartitionParam(collection_name="words", tag="p1")),
    ("ShowPartitions", named()),
]


async def test_the_catalog_answers_in_the_protocols_form() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        replies = {method: await cluster.call(method, request) for method, request in CATALOG_CALLS}
        assert all(reply.status.reason == "OK" for reply in replies.values())  # type: ignore[attr-defined]  # all have one
        assert replies["HasCollection"] == pb.BoolReply(status=ok(), bool_reply=True)
        assert replies["DescribeCollection"] == pb.CollectionSchema(
            status=ok(), collection_name="words", dimension=4, index_file_size=1024, metric_type=2
        )
        assert replies["CountCollection"] == pb.CollectionRowCount(status=ok(), collection_row_count=15)
        assert replies["ShowCollections"] == pb.CollectionNameList(status=ok(), collection_names=["words", "other"])
        assert replies["DescribeIndex"] == pb.IndexParam(
            status=ok(), collection_name="words", index_type=1, extra_params=[pb.KeyValuePair(key="params", value="{}")]
        )
        assert replies["HasPartition"] == pb.BoolReply(status=ok(), bool_reply=True)
        assert replies["ShowPartitions"] == pb.PartitionList(status=ok(), partition_tag_array=["_default", "p1"])


def ok() -> Message:
    return pb.BoolReply.FromString(b"\x0a\x04\x12\x02OK").status


async def test_collection_info_is_sorted_json_with_null_for_a_partition_without_segments() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        cluster.world.partition("words", "empty")
        reply = await cluster.call("ShowCollectionInfo", named())
        assert isinstance(reply, pb.CollectionInfo)
        info = json.loads(reply.json_info)
        assert reply.json_info == json.dumps(info, sort_keys=True, separators=(",", ":"))
        assert [(part["tag"], part["row_count"]) for part in info["partitions"]] == [
            ("_default", 10),
            ("p1", 5),
            ("empty", 0),
        ]
        assert info["partitions"][2]["segments"] is None
        segment = info["partitions"][0]["segments"][0]
        assert (segment["row_count"], segment["index_name"], segment["data_size"]) == (10, "IDMAP", 240)
        assert info["row_count"] == 15


async def test_an_indexed_segment_is_shown_once_with_its_index() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        raw = next(iter(cluster.world.files.values()))
        cluster.world.become(raw, FileType.BACKUP)
        index = cluster.world.add_file("words", raw.segment_id, FileType.INDEX)
        cluster.world.files[index.id] = replace(index, engine_type=IndexType.IVF_FLAT, file_size=999)
        reply = await cluster.call("ShowCollectionInfo", named())
        assert isinstance(reply, pb.CollectionInfo)
        segments = json.loads(reply.json_info)["partitions"][0]["segments"]
        assert [(s["index_name"], s["data_size"], s["row_count"]) for s in segments] == [("IVFFLAT", 999, 10)]


@pytest.mark.parametrize(
    ("method", "request_"), [(m, r) for m, r in CATALOG_CALLS if m not in ("HasCollection", "ShowCollections")]
)
async def test_an_unknown_collection_is_told_by_code_and_text(method: str, request_: Message) -> None:
    async with running_cluster(readers=1) as cluster:
        reply = await cluster.call(method, request_)
        assert (reply.status.error_code, reply.status.reason) == (4, not_found_text("words"))  # type: ignore[attr-defined]


async def test_a_partitions_internal_name_and_a_bad_name_are_no_collections() -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.world.create("words")
        cluster.world.create("p_17", owner="words", tag="p")
        internal = await cluster.call("HasCollection", named("p_17"))
        assert internal == pb.BoolReply(status=ok(), bool_reply=False)
        bad = await cluster.call("HasCollection", named("1st"))
        assert isinstance(bad, pb.BoolReply)
        assert bad.status.error_code == 9
        unknown_tag = await cluster.call("HasPartition", pb.PartitionParam(collection_name="words", tag="x" * 500))
        assert unknown_tag == pb.BoolReply(status=ok(), bool_reply=False)


async def test_without_a_writable_node_the_catalog_and_the_service_itself_still_answer() -> None:
    async with running_cluster(readers=1, writer=False) as cluster:
        await filled(cluster)
        for method, request in CATALOG_CALLS:
            reply = await cluster.call(method, request)
            assert reply.status.error_code == 0  # type: ignore[attr-defined]  # all have one
        for command, answer in (("version", "1.1.0"), ("status", "OK"), ("mode", "CPU")):
            assert await cluster.call("Cmd", pb.Command(cmd=command)) == pb.StringReply(
                status=ok(), string_reply=answer
            )


async def test_what_the_writable_node_just_made_is_described_at_once() -> None:
    options = replace(QUICK, metadata=replace(QUICK.metadata, refresh_ms=600_000))
    async with running_cluster(readers=1, options=options) as cluster:
        await cluster.call("CreateCollection", pb.CollectionSchema(collection_name="new", dimension=8, metric_type=1))
        assert await cluster.call("HasCollection", named("new")) == pb.BoolReply(status=ok(), bool_reply=True)
        await cluster.call("DropCollection", named("new"))
        assert await cluster.call("HasCollection", named("new")) == pb.BoolReply(status=ok(), bool_reply=False)


async def test_other_commands_go_to_the_writable_node() -> None:
    async with running_cluster(readers=1) as cluster:
        reply = await cluster.call("Cmd", pb.Command(cmd="get_config cache.cache_size"))
        assert reply == pb.StringReply(status=ok(), string_reply="Unknown command")


async def test_connection_statistics_name_every_node() -> None:
    async with running_cluster(readers=2) as cluster:
        reply = await cluster.call("Cmd", pb.Command(cmd="conn_stats"))
        assert isinstance(reply, pb.StringReply)
        nodes = json.loads(reply.string_reply)["nodes"]
        assert {(name, node["role"], node["health"]) for name, node in nodes.items()} == {
            ("reader-1", "readonly", "up"),
            ("reader-2", "readonly", "up"),
            ("writer", "writable", "up"),
        }


IDS = pb.VectorsIdentity(collection_name="words", id_array=[1, 2])


class WithVectors:
    """A node's handler that also answers by id."""

    def __init__(self, cluster: InProcessCluster, name: str) -> None:
        self._node, self._cluster = cluster.nodes[name], cluster
        cluster.network.link(f"{name}:1").handler = self

    async def __call__(self, call):  # type: ignore[no-untyped-def]  # as LiteralNode's
        if call.method != "GetVectorsByID":
            return await self._node(call)
        ids, rows = self._cluster.world.live("words")
        stored = dict(zip(ids.tolist(), rows.tolist(), strict=True))
        wanted = pb.VectorsIdentity.FromString(call.request).id_array
        records = [pb.RowRecord(float_data=stored.get(number, [])) for number in wanted]
        return pb.VectorsData(status=ok(), vectors_data=records).SerializeToString()


async def test_rows_by_id_come_from_the_writable_node_and_from_others_when_it_is_away() -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            WithVectors(cluster, name)
        for away in (False, True):
            reply = await cluster.call("GetVectorsByID", IDS)
            assert isinstance(reply, pb.VectorsData)
            assert len(reply.vectors_data) == 2
            if not away:
                assert [name for name, _ in cluster.received("GetVectorsByID")] == ["writer"]
                cluster.network.kill("writer:1")


async def test_a_search_by_ids_answers_a_row_an_id_with_nothing_for_unknown_ones() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            WithVectors(cluster, name)
        asked = pb.SearchByIDParam(
            collection_name="words",
            id_array=[3, 999, 12],
            topk=4,
            extra_params=[pb.KeyValuePair(key="params", value="{}")],
        )
        reply = await cluster.call("SearchByID", asked)
        assert isinstance(reply, pb.TopKQueryResult)
        ids, rows = cluster.world.live("words")
        stored = dict(zip(ids.tolist(), rows, strict=True))
        plain = rows_of(await cluster.search("words", np.stack([stored[3], stored[12]]), 4))[0]
        assert rows_of(reply)[0] == [plain[0], [], plain[1]]
        assert reply.row_num == 3
        assert len(reply.ids) == 12


@pytest.mark.parametrize(("ids", "topk"), [([3, 999], 2000), ([999, 998], 3)])
async def test_a_search_by_ids_among_too_few_rows_is_refused_unless_no_id_is_known(ids: list[int], topk: int) -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        for name in cluster.nodes:
            WithVectors(cluster, name)
        asked = pb.SearchByIDParam(
            collection_name="words",
            id_array=ids,
            topk=topk,
            extra_params=[pb.KeyValuePair(key="params", value="{}")],
        )
        reply = await cluster.call("SearchByID", asked)
        assert isinstance(reply, pb.TopKQueryResult)
        if 3 in ids:
            assert (reply.status.error_code, reply.status.reason) == (1, "result doesn't match id count")
        else:
            assert (reply.row_num, list(reply.ids)) == (2, [-1] * 6)


async def test_preload_goes_to_every_owner_and_to_nobody_else() -> None:
    async with running_cluster(readers=3, replicas=2) as cluster:
        await filled(cluster)
        reply = await cluster.call("PreloadCollection", pb.PreloadCollectionParam(collection_name="words"))
        assert reply == ok()
        loaded = sorted(file for calls in cluster.searched().values() for ids in calls for file in ids)
        assert loaded == sorted([str(file) for file in cluster.world.files] * 2)
        assert "writer" not in cluster.searched()


async def test_preload_of_one_partition_loads_that_one() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        asked = pb.PreloadCollectionParam(collection_name="words", partition_tag_array=["p1"])
        assert await cluster.call("PreloadCollection", asked) == ok()
        files = [str(f.id) for f in cluster.world.files.values() if f.table_id != "words"]
        assert [ids for calls in cluster.searched().values() for ids in calls] == [files]


async def test_preload_of_a_collection_without_segments_is_done_at_once() -> None:
    async with running_cluster(readers=1) as cluster:
        cluster.world.create("empty")
        assert await cluster.call("PreloadCollection", pb.PreloadCollectionParam(collection_name="empty")) == ok()
        unknown = await cluster.call("PreloadCollection", pb.PreloadCollectionParam(collection_name="absent"))
        assert unknown.error_code == 4  # type: ignore[attr-defined]  # a Status


async def test_release_is_told_to_the_readers_even_where_they_do_not_know_it() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        assert await cluster.call("ReleaseCollection", pb.PreloadCollectionParam(collection_name="words")) == ok()
        told = [name for name, _ in cluster.received("ReleaseCollection")]
        assert sorted(told) == ["reader-1", "reader-2"]


async def test_files_named_by_a_client_are_searched_and_no_others() -> None:
    async with running_cluster(readers=2) as cluster:
        await filled(cluster)
        first, second = cluster.world.files
        queries = vectors(1)
        for files, wanted in (([first], 10), ([second, 999], 5), ([first, second], 15), ([], 15)):
            param = search_param("words", queries, 100, ["nonsense"])
            asked = pb.SearchInFilesParam(file_id_array=[str(file) for file in files], search_param=param)
            if not files:
                asked.search_param.ClearField("partition_tag_array")
            reply = await cluster.call("SearchInFiles", asked)
            assert isinstance(reply, pb.TopKQueryResult)
            assert len(rows_of(reply)[0][0]) == wanted


@pytest.mark.parametrize(("files", "reason"), [(["999"], "Invalid file id"), (["abc"], "stoul"), (["²"], "stoul")])
async def test_files_that_are_none_are_refused(files: list[str], reason: str) -> None:
    async with running_cluster(readers=1) as cluster:
        await filled(cluster)
        asked = pb.SearchInFilesParam(file_id_array=files, search_param=search_param("words", vectors(1), 1))
        reply = await cluster.call("SearchInFiles", asked)
        assert isinstance(reply, pb.TopKQueryResult)
        assert (reply.status.error_code, reply.status.reason) == (1, reason)
