"""What a client of the double meets besides rows: texts and codes, groups, request ids, commands, faults."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest

from harness.milvus1 import checks
from harness.milvus1.client import NodeClient, search_param
from harness.milvus1.cluster import Cluster
from harness.milvus1.kinds import Engine, Metric
from harness.milvus1.options import parse_option
from harness.ports import accepts_connections
from harness.vectors import bits, gaussian
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb

ROWS = gaussian(30, 8)
UNKNOWN = (
    "Collection x does not exist. Use milvus.has_collection to verify whether the collection exists. "
    "You also can check whether the collection name exists."
)


@pytest.fixture
def client(cluster: Cluster) -> NodeClient:
    """Return a client of a writable node that has collection ``c`` with ids 0 to 29."""
    _, client = cluster.start("rw")
    client.create("c", 8)
    client.insert("c", ROWS, range(30))
    client.flush("c")
    return client


@pytest.mark.parametrize(
    ("name", "dimension", "size", "metric", "code", "text"),
    [
        ("new", 8, 10, 1, 0, "OK"),
        ("c", 8, 10, 1, 9, "Collection already exists"),
        (
            "1bad-name",
            8,
            10,
            1,
            9,
            "Invalid collection name: 1bad-name. The first character of a collection name must be an underscore or "
            "letter.",
        ),
        (
            "n",
            40_000,
            10,
            1,
            7,
            "Invalid collection dimension: 40000. The collection dimension must be within the range of 1 ~ 32768.",
        ),
        ("n", 8, 0, 1, 5, "Invalid index file size: 0. The index file size must be within the range of 1 ~ 4096."),
        (
            "n",
            8,
            10,
            9,
            23,
            "Invalid index metric type: 9. Make sure the metric type is in MetricType list.",
        ),
    ],
)
def test_creating_a_collection_answers_in_the_real_words(
    client: NodeClient, name: str, dimension: int, size: int, metric: int, code: int, text: str
) -> None:
    request = pb.CollectionSchema(collection_name=name, dimension=dimension, index_file_size=size, metric_type=metric)
    status = client.call("CreateCollection", request)
    assert (status.error_code, status.reason) == (code, text)


def test_searching_answers_in_the_real_words(client: NodeClient) -> None:
    cases = [
        (("x", ROWS[:1], 1), 4, UNKNOWN),
        (("c", ROWS[:1, :4], 1), 7, "The vector dimension must be equal to the collection dimension."),
        (("c", ROWS[:1], 16_385), 10, "Invalid topk: 16385. The topk must be within the range of 1 ~ 16384."),
        (("c", ROWS[:0], 1), 11, "The vector array is empty. Make sure you have entered vector records."),
    ]
    for arguments, code, text in cases:
        found = client.search(*arguments)
        assert (found.code, found.reason) == (code, text)
        assert client.search_files(arguments[0], [1], *arguments[1:]).reason == text


def test_search_params_are_checked_by_the_collection_s_index_though_its_segments_are_raw(client: NodeClient) -> None:
    client.create("few", 8)
    client.create_index("few", Engine.IVF_FLAT)
    client.insert("few", ROWS[:5])
    client.flush("few")
    assert client.search("few", ROWS[:1], 1).reason == "Parameter list must contain: nprobe"
    assert client.search("few", ROWS[:1], 1, '{"nprobe":0}').reason == (
        "Invalid nprobe value: 0. Valid range is [1, 65536]"
    )
    assert client.search("few", ROWS[:1], 1, '{"nprobe":true}').reason == (
        "Invalid nprobe: [json.exception.type_error.302] type must be number, but is boolean"
    )


def test_malformed_parameters_leave_as_an_error_of_grpc(client: NodeClient) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.search("c", ROWS[:1], 1, "{")
    assert caught.value.code() is grpc.StatusCode.UNKNOWN


def test_inserting_fixes_who_makes_the_ids(client: NodeClient) -> None:
    status = client.insert("c", ROWS).status
    assert (status.error_code, status.reason.split(".")[0]) == (12, "Entities IDs are user-defined")
    client.create("auto", 8)
    ids = list(client.insert("auto", ROWS).vector_id_array)
    assert np.diff(ids).tolist() == [1] * 29
    status = client.insert("auto", ROWS, range(30)).status
    assert (status.error_code, status.reason) == (
        12,
        "Entities IDs are auto-generated. All vectors of this collection must use auto-generated IDs.",
    )


def test_partitions_answer_in_the_real_words_and_hold_rows_of_their_own(client: NodeClient) -> None:
    p1 = pb.PartitionParam(collection_name="c", tag="p1")
    assert client.call("CreatePartition", p1).reason == "OK"
    assert client.call("CreatePartition", p1).reason == "Duplicate partition is not allowed"
    p9 = pb.PartitionParam(collection_name="c", tag="p9")
    assert client.call("DropPartition", p9).reason == "Collection c's partition p9 not found"
    client.insert("c", ROWS + 50, range(100, 130), tag="p1")
    client.flush("c")
    assert client.search("c", ROWS[:1] + 50, 1, tags=[" p.* "]).ids == [[100]]
    assert client.search_files("c", [2], ROWS[:1] + 50, 1).ids == [[100]]
    assert client.count("c") == 60
    tags = client.call("ShowPartitions", pb.CollectionName(collection_name="c"), pb.PartitionList)
    assert list(tags.partition_tag_array) == ["_default", "p1"]
    client.call("DropPartition", p1)
    assert client.count("c") == 30


def test_a_build_parameter_out_of_range_is_refused(client: NodeClient) -> None:
    assert client.create_index("c", Engine.IVF_FLAT, '{"nlist":0}').reason == (
        "Invalid nlist value: 0. Valid range is [1, 65536]"
    )


def test_a_collection_is_described(client: NodeClient) -> None:
    name = pb.CollectionName(collection_name="c")
    schema = client.call("DescribeCollection", name, pb.CollectionSchema)
    assert (schema.dimension, schema.index_file_size, schema.metric_type) == (8, 1024, 1)
    index = client.call("DescribeIndex", name, pb.IndexParam)
    assert (index.index_type, index.extra_params[0].value) == (1, "{}")
    statistics = json.loads(client.call("ShowCollectionInfo", name, pb.CollectionInfo).json_info)
    assert statistics["row_count"] == 30
    (part,) = statistics["partitions"]
    assert (part["tag"], part["segments"][0]["index_name"], part["segments"][0]["data_size"]) == (
        "_default",
        "IDMAP",
        30 * 40,
    )
    request = pb.GetVectorIDsParam(collection_name="c", segment_name=part["segments"][0]["name"])
    assert list(client.call("GetVectorIDs", request, pb.VectorIds).vector_id_array) == list(range(30))


def test_vectors_are_returned_by_id_and_an_unknown_one_is_empty(client: NodeClient) -> None:
    reply = client.call("GetVectorsByID", pb.VectorsIdentity(collection_name="c", id_array=[3, 77]), pb.VectorsData)
    first, second = reply.vectors_data
    np.testing.assert_array_equal(np.array(first.float_data, dtype=np.float32), ROWS[3])
    assert not second.float_data


def test_a_search_by_id_is_one_by_the_stored_vector(client: NodeClient) -> None:
    request = pb.SearchByIDParam(collection_name="c", id_array=[3, 77], topk=2)
    request.extra_params.add(key="params", value="{}")
    reply = client.call("SearchByID", request, pb.TopKQueryResult)
    assert (reply.row_num, reply.ids[0], list(reply.ids[2:])) == (2, 3, [-1, -1])


def test_vectors_of_bits_are_stored_and_searched(client: NodeClient) -> None:
    rows = bits(20, 64)
    client.create("b", 64, Metric.HAMMING)
    client.insert("b", rows, range(20))
    client.flush("b")
    found = client.search("b", rows[7:8], 1)
    assert (found.ids, found.distances) == ([[7]], [[0.0]])
    assert client.insert("b", gaussian(1, 64), [1]).status.error_code == 7


def test_a_dropped_name_is_taken_until_its_row_is_gone(cluster: Cluster) -> None:
    _, reader = cluster.start("ro")  # nobody cleans up here
    reader.create("c", 8)
    assert reader.on("DropCollection", "c").reason == "OK"
    assert reader.create("c", 8).reason == "Collection already exists and it is in delete state, please wait a second"
    cluster.start("rw")
    eventually(lambda: reader.create("c", 8).reason == "OK", 10, "the clean-up")


def test_commands_answer_as_the_real_server_does(cluster: Cluster, client: NodeClient) -> None:
    answers = {text: client.command(text).string_reply for text in ("version", "status", "mode", "anything else")}
    assert answers == {"version": "1.0.0", "status": "OK", "mode": "CPU", "anything else": "Unknown command"}
    assert client.command("mishards capabilities").status.error_code == 0
    assert client.command("get_config cluster.role").string_reply == "rw"
    _, reader = cluster.start("ro", version="1.1.0")
    assert reader.command("get_config cluster.role").string_reply == "ro"
    assert reader.command("version").string_reply == "1.1.0"
    assert reader.command("get_config no.such").status.reason == "Config node invalid: no.such"
    assert reader.command("get_config x").status.reason == "Invalid command: get_config x"
    assert json.loads(reader.command("get_config *").string_reply)["cluster"] == {"enable": "true", "role": "ro"}


def test_a_reply_has_a_number_unless_the_caller_sent_one(client: NodeClient) -> None:
    request = pb.Command(cmd="status")
    first, second = (client.begin("Cmd", request, pb.StringReply) for _ in range(2))
    numbers = {int(dict(call.initial_metadata())["request_id"]) for call in (first, second)}
    assert len(numbers) == 2
    own = client.begin("Cmd", request, pb.StringReply, metadata=[("request_id", "mine")])
    assert "request_id" not in dict(own.initial_metadata())


def test_the_searches_of_a_node_run_one_by_one_while_other_groups_go_on(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    client.create("c", 8)
    with node.hooks.pause_at("rpc Search") as pause:
        first = client.begin("Search", search_param("c", ROWS[:1], 1), pb.TopKQueryResult)
        pause.wait_reached()
        second = client.begin_search_files("c", [], ROWS[:1], 1)
        assert client.command("status").string_reply == "OK"
        assert client.create("other", 8).reason == "OK"
        assert not second.done()
    assert first.result().status.reason == second.result().status.reason == "OK"


def test_the_next_calls_of_a_method_can_be_failed(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    node.hooks.fail_next("Cmd", times=2, reason="out of luck", code=24)
    assert [client.command("status").status.reason for _ in range(3)] == ["out of luck", "out of luck", "OK"]


def test_a_dropped_connection_fails_the_call_and_the_node_comes_back_at_its_address(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    address = node.address
    node.hooks.drop_next("Cmd")
    with pytest.raises(grpc.RpcError) as caught:
        client.command("status")
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    eventually(lambda: accepts_connections(int(address.rpartition(":")[2])), 10, "the node listens again")
    with NodeClient(address) as again:
        assert again.command("status").string_reply == "OK"


def test_a_delayed_method_answers_late(cluster: Cluster) -> None:
    node, client = cluster.start("rw")
    node.hooks.delay("Cmd", 60)
    call = client.begin("Cmd", pb.Command(cmd="status"), pb.StringReply)
    assert client.create("c", 8).reason == "OK"
    assert not call.done()
    node.kill()
    assert call.exception() is not None


def test_an_option_is_read_from_text() -> None:
    assert parse_option("cleanup_delay_s=0.5") == ("cleanup_delay_s", 0.5)
    assert parse_option("version=1.1.0") == ("version", "1.1.0")
    assert parse_option('merges=["start"]') == ("merges", ("start",))
    with pytest.raises(ValueError, match="no option"):
        parse_option("cleanup=1")


def test_an_index_that_cuts_the_dimension_wrongly_is_refused(client: NodeClient) -> None:
    status = client.create_index("c", Engine.IVF_PQ, '{"nlist":4,"m":3}')
    assert (status.error_code, status.reason) == (7, "Invalid collection dimension, dimension can not be divided by m")


def test_parameters_are_kept_as_given_with_their_keys_in_order() -> None:
    assert checks.canonical({"nlist": 4, "extra": 1}) == '{"extra":1,"nlist":4}'
