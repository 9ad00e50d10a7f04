from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.node_rpc import Rpc, floats, ok, search_param, status
from mishards.catalog.snapshot import Snapshot
from mishards.errors import CatalogUnavailable, InvalidFileId, MalformedParams, not_found_text
from mishards.wire.extensions import REVISION_KEY
from mishards.wire.protos import milvus_pb2 as pb

NO_PARTITION = (1, "The specified partition does not exist")


def ids_of(reply: Any) -> list[list[int]]:
    """The hits of each query."""
    ok(reply)
    if not reply.row_num:
        return []
    return [[i for i in row if i != -1] for row in np.reshape(reply.ids, (reply.row_num, -1)).tolist()]


def in_files(file_ids: Any, *, values: tuple[float, ...] = (1,), topk: int = 9, name: str = "words") -> Any:
    return pb.SearchInFilesParam(file_id_array=file_ids, search_param=search_param(floats(*values), topk, name=name))


def test_the_nearest_come_first_with_squared_distances(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1, 2), [1, 2])
    rpc.insert(floats(4), [4])
    reply = rpc.search(floats(1, 4), 3)
    assert ids_of(reply) == [[1, 2, 4], [4, 2, 1]]
    assert list(reply.distances) == [0.0, 4.0, 36.0, 0.0, 16.0, 36.0]
    assert reply.row_num == 2


def test_no_segment_is_no_row_and_only_deleted_rows_are_empty_rows(rpc: Rpc) -> None:
    rpc.create()
    empty = rpc.search(floats(1, 2))
    assert (ok(empty).row_num, list(empty.ids)) == (0, [])
    rpc.insert(floats(1), [1])
    ok(rpc.DeleteByID(collection_name="words", id_array=[1]))
    ok(rpc.Flush())
    deleted = rpc.search(floats(1, 2))
    assert (ok(deleted).row_num, list(deleted.ids)) == (2, [-1, -1])


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ((), [1, 2, 3]),
        (("p1",), [1]),
        (("_default",), [3]),
        (("p.*",), [1, 2]),
        (("q", " p2 "), [2]),
        ((".*",), [1, 2]),
    ],
)
def test_tags_select_partitions(rpc: Rpc, tags: tuple[str, ...], found: list[int]) -> None:
    rpc.create()
    for tag, value in (("p1", 1), ("p2", 2), ("", 3)):
        if tag:
            ok(rpc.CreatePartition(collection_name="words", tag=tag))
        rpc.insert(floats(value), [value], tag=tag)
    assert ids_of(rpc.search(floats(0), 9, tags=tags)) == [found]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "1bad", "topk": 0}, 9),
        ({"name": "gone", "topk": 0, "tags": [" "]}, 10),
        ({"name": "gone", "tags": [" "]}, 1),
        ({"name": "gone", "vectors": np.ones((1, 9), np.float32)}, 4),
        ({"vectors": np.ones((1, 9), np.float32), "tags": ["q"]}, 7),
        ({"vectors": np.empty((0, 4), np.float32), "tags": ["q"]}, 11),
        ({"tags": ["q"]}, 1),
    ],
)
def test_a_search_is_checked_in_the_protocols_order(rpc: Rpc, fields: dict[str, Any], expected: int) -> None:
    rpc.create()
    given = {"vectors": floats(1), **fields}
    assert status(rpc.call("Search", search_param(**given)))[0] == expected


def test_params_that_are_no_json_escape_as_a_status_of_the_transport(rpc: Rpc) -> None:
    rpc.create()
    with pytest.raises(MalformedParams):
        rpc.call("Search", search_param(floats(1), json="{"))


def test_params_fit_the_index_of_the_collection_even_where_segments_are_raw(rpc: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1), [1])
    ok(
        rpc.CreateIndex(
            collection_name="words", index_type=2, extra_params=[pb.KeyValuePair(key="params", value='{"nlist":16}')]
        )
    )
    assert status(rpc.search(floats(1)))[0] == 5
    assert ids_of(rpc.call("Search", search_param(floats(1), json='{"nprobe":1}'))) == [[1]]


# --- in files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_files(rpc: Rpc) -> list[str]:
    """Three segments, one of them in a partition."""
    rpc.create()
    ok(rpc.CreatePartition(collection_name="words", tag="p"))
    rpc.insert(floats(1), [1])
    rpc.insert(floats(2), [2])
    rpc.insert(floats(3), [3], tag="p")
    return rpc.file_ids()


@pytest.mark.parametrize("role", ["writable", "readonly"])
def test_only_the_named_files_are_searched(rpc: Rpc, reader: Rpc, three_files: list[str], role: str) -> None:
    node = rpc if role == "writable" else reader
    assert ids_of(node.call("SearchInFiles", in_files(three_files[:1]))) == [[1]]
    assert ids_of(node.call("SearchInFiles", in_files(three_files[::-1]))) == [[1, 2, 3]]


def test_files_named_twice_count_once_and_unknown_ones_are_left_out(rpc: Rpc, three_files: list[str]) -> None:
    reply = rpc.call("SearchInFiles", in_files([three_files[0], three_files[0], "999"]))
    assert ids_of(reply) == [[1]]
    assert len(reply.ids) == 2  # one row and the placeholder


def test_no_file_named_is_the_whole_collection(rpc: Rpc, three_files: list[str]) -> None:
    assert ids_of(rpc.call("SearchInFiles", in_files([]))) == [[1, 2, 3]]
    assert three_files


@pytest.mark.parametrize(
    ("file_ids", "reason"),
    [
        (["998", "999"], "Invalid file id"),
        (["abc"], "stoul"),
        (["-1"], "stoul"),
        ([""], "stoul"),
        (["9" * 5000], "stoul"),
    ],
)
def test_files_that_cannot_be_are_refused_in_the_protocols_words(
    rpc: Rpc, three_files: list[str], file_ids: list[str], reason: str
) -> None:
    assert three_files
    assert status(rpc.call("SearchInFiles", in_files(file_ids))) == (InvalidFileId.code, reason)


def test_files_of_another_collection_are_no_files(rpc: Rpc, three_files: list[str]) -> None:
    rpc.create("other")
    reply = rpc.call("SearchInFiles", in_files(three_files, name="other"))
    assert status(reply) == (1, "Invalid file id")
    reply = rpc.call("SearchInFiles", in_files(three_files, name="gone"))
    assert status(reply) == (4, not_found_text("gone"))


def test_too_many_files_are_refused(rpc: Rpc) -> None:
    rpc.create()
    reply = rpc.call("SearchInFiles", in_files(["1"] * 65537))
    assert status(reply) == (1, "Search files count exceed scheduler limit: 65536")


def test_a_superseded_file_is_unknown(rpc: Rpc, reader: Rpc) -> None:
    rpc.create()
    rpc.insert(floats(1), [1])
    rpc.insert(floats(2), [2])
    before = rpc.file_ids()
    ok(rpc.DropIndex(collection_name="words"))  # merges
    after = rpc.file_ids()
    assert set(before).isdisjoint(after)
    for node in (rpc, reader):
        assert status(node.call("SearchInFiles", in_files(before))) == (1, "Invalid file id")
        assert ids_of(node.call("SearchInFiles", in_files(after))) == [[1, 2]]


def test_a_raw_file_behind_an_index_is_its_segment(rpc: Rpc) -> None:
    rpc.create()
    values = np.random.default_rng(1).random((4096, 4), np.float32)
    rpc.insert(values, range(4096))
    raw = rpc.file_ids()
    ok(
        rpc.CreateIndex(
            collection_name="words", index_type=2, extra_params=[pb.KeyValuePair(key="params", value='{"nlist":16}')]
        )
    )
    indexed = rpc.file_ids()
    assert raw != indexed
    for file_ids in (raw, indexed, raw + indexed):
        request = pb.SearchInFilesParam(
            file_id_array=file_ids, search_param=search_param(values[5:6], 1, json='{"nprobe":16}')
        )
        assert ids_of(rpc.call("SearchInFiles", request)) == [[5]]


# --- deletes on other nodes ------------------------------------------------------------------------------------------


def test_a_node_that_knows_an_older_revision_than_the_search_was_planned_on_looks_again(
    rpc: Rpc, reader: Rpc, three_files: list[str]
) -> None:
    assert ids_of(reader.call("SearchInFiles", in_files(three_files))) == [[1, 2, 3]]
    ok(rpc.DeleteByID(collection_name="words", id_array=[2]))
    ok(rpc.Flush())
    revision = rpc.node._catalog.refreshed().revision
    reply = reader.call("SearchInFiles", in_files(three_files), [(REVISION_KEY, str(revision))])
    assert ids_of(reply) == [[1, 3]]


def test_a_node_that_cannot_read_what_its_router_has_read_answers_no_deleted_rows(
    rpc: Rpc, reader: Rpc, three_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ids_of(reader.call("SearchInFiles", in_files(three_files))) == [[1, 2, 3]]
    ok(rpc.DeleteByID(collection_name="words", id_array=[2]))
    ok(rpc.Flush())
    revision = rpc.node._catalog.refreshed().revision

    def away(_: Snapshot | None) -> Snapshot:
        raise CatalogUnavailable("the database is away")

    with monkeypatch.context() as outage:
        outage.setattr(reader.node._catalog._cache, "_read", away)
        reply = reader.call("SearchInFiles", in_files(three_files), [(REVISION_KEY, str(revision))])
        assert (reply.status.error_code != 0, list(reply.ids)) == (True, [])
    reply = reader.call("SearchInFiles", in_files(three_files), [(REVISION_KEY, str(revision))])
    assert ids_of(reply) == [[1, 3]]


@pytest.mark.parametrize("metadata", [[], [(REVISION_KEY, "x")], [(REVISION_KEY, "")]])
def test_who_names_no_revision_gets_the_newest(
    rpc: Rpc, reader: Rpc, three_files: list[str], metadata: list[tuple[str, str]]
) -> None:
    assert ids_of(reader.call("SearchInFiles", in_files(three_files))) == [[1, 2, 3]]
    ok(rpc.DeleteByID(collection_name="words", id_array=[2]))
    ok(rpc.Flush())
    assert ids_of(reader.call("SearchInFiles", in_files(three_files), metadata)) == [[1, 3]]


def test_reload_segments_is_welcome_everywhere(rpc: Rpc, reader: Rpc, three_files: list[str]) -> None:
    for node in (rpc, reader):
        ok(node.ReloadSegments(collection_name="words", segment_id_array=[*three_files, "999"]))


# --- preload and release ---------------------------------------------------------------------------------------------


def test_preload_loads_what_the_tags_select_and_release_lets_it_go(rpc: Rpc, three_files: list[str]) -> None:
    assert three_files
    cache = rpc.node.cache
    ok(rpc.PreloadCollection(collection_name="words", partition_tag_array=["p"]))
    assert (cache.usage.segments, cache.usage.loads) == (1, 1)
    ok(rpc.PreloadCollection(collection_name="words"))
    assert (cache.usage.segments, cache.usage.loads) == (3, 3)
    ok(rpc.ReleaseCollection(collection_name="words", partition_tag_array=["p"]))
    assert cache.usage.segments == 2
    assert status(rpc.PreloadCollection(collection_name="words", partition_tag_array=["q"])) == NO_PARTITION
    ids_of(rpc.search(floats(1), 3))
    assert cache.usage.loads == 4
