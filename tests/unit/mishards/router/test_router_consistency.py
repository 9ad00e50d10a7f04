"""What each consistency level must see, through several routers over our own nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.node_rpc import floats, records
from harness.real_cluster import Door, RealCluster, real_cluster

STRONG = '{"consistency_level": "Strong"}'
SESSION = '{"consistency_level": "Session"}'
EVENTUALLY = '{"consistency_level": "Eventually"}'
BOUNDED_NOW = '{"consistency_level": "Bounded", "graceful_time_ms": 0}'


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RealCluster]:
    async with real_cluster(tmp_path) as made:
        yield made


async def filled(cluster: RealCluster) -> None:
    """Rows 1 and 2 in a segment that both routers know."""
    first, second = cluster.doors
    await first.create()
    await first.insert(floats(1, 2), [1, 2])
    await first.flush()
    for door in (first, second):
        assert await door.search(floats(1), params=BOUNDED_NOW) == [[1, 2]]


async def refusal(door: Door, vectors: Any = (), params: str = STRONG, **fields: Any) -> tuple[int, str]:
    """Code and reason of a search that is refused."""
    fields = {"collection_name": "words", "topk": 1, **fields}
    pairs = [{"key": "params", "value": params}]
    reply = await door.call("Search", query_record_array=records(vectors), extra_params=pairs, **fields)
    return reply.status.error_code, reply.status.reason


async def test_strong_sees_through_another_router_what_was_just_acknowledged_and_makes_no_segment(
    cluster: RealCluster,
) -> None:
    await filled(cluster)
    first, second = cluster.doors
    before, flushes = cluster.segments(), len(cluster.received("Flush"))
    for number in range(3, 8):
        await first.insert(floats(number), [number])
        assert await second.search(floats(number), 1, params=STRONG) == [[number]]
    assert await second.search(floats(1), params=STRONG) == [[1, 2, 3, 4, 5, 6, 7]]
    assert cluster.segments() == before
    assert len(cluster.received("Flush")) == flushes


async def test_strong_sees_a_collection_that_was_just_made_and_has_no_segment_at_all(cluster: RealCluster) -> None:
    first, second = cluster.doors
    await first.create()
    assert await second.search(floats(1), params=STRONG) == [[]]
    await first.insert(floats(1), [1])
    assert await second.search(floats(1), params=STRONG) == [[1]]
    assert cluster.segments() == []


async def test_strong_reads_no_catalog_as_long_as_nothing_changes_in_it(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await second.search(floats(1), params=STRONG)
    reads = second.database.reads
    await first.insert(floats(3), [3])
    assert await second.search(floats(3), 1, params=STRONG) == [[3]]
    assert second.database.reads == reads
    await first.flush()
    assert await second.search(floats(3), params=STRONG) == [[3, 2, 1]]
    assert second.database.reads == reads + 1


async def test_strong_does_not_return_a_growing_row_that_was_deleted_and_needs_no_flush_for_it(
    cluster: RealCluster,
) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3, 4), [3, 4])
    await first.delete([3])
    flushes = len(cluster.received("Flush"))
    assert await second.search(floats(3), params=STRONG) == [[2, 4, 1]]
    assert len(cluster.received("Flush")) == flushes


async def test_strong_has_a_deleted_row_flushed_away_when_it_meets_it_in_a_segment(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    await first.delete([1])
    flushes = len(cluster.received("Flush"))
    assert await second.search(floats(2), 1, params=STRONG) == [[2]]
    assert len(cluster.received("Flush")) == flushes, "the deleted row was far away"
    assert await second.search(floats(1), params=STRONG) == [[2, 3]]
    assert len(cluster.received("Flush")) == flushes + 1


async def test_strong_sees_a_row_that_was_deleted_and_inserted_again_as_it_is_now(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.delete([2])
    await first.insert(floats(9), [2])
    assert await second.search(floats(9), params=STRONG) == [[2, 1]]


async def test_strong_keeps_equal_ids_of_different_rows(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3, 4), [1, 1])
    assert await second.search(floats(4), params=STRONG) == [[1, 1, 2, 1]]


async def test_strong_looks_into_the_partitions_that_the_tags_select(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    for number, tag in ((3, "a1"), (4, "a2"), (5, "b")):
        await first.ok("CreatePartition", collection_name="words", tag=tag)
        await first.insert(floats(number), [number], tag)
    assert await second.search(floats(5), params=STRONG) == [[5, 4, 3, 2, 1]]
    assert await second.search(floats(5), tags=["a.*"], params=STRONG) == [[4, 3]]
    assert await second.search(floats(5), tags=["_default"], params=STRONG) == [[2, 1]]
    await first.ok("DropPartition", collection_name="words", tag="a2")
    assert await second.search(floats(5), params=STRONG) == [[5, 3, 2, 1]]
    assert await second.search(floats(5), tags=["a2", "b"], params=STRONG) == [[5]]
    assert await refusal(second, floats(5), partition_tag_array=["a2"]) == (1, "The specified partition does not exist")


async def test_strong_follows_a_collection_that_took_the_place_of_another(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    await first.ok("DropCollection", collection_name="words")
    assert (await refusal(second, floats(1)))[0] == 4
    await first.create(metric=2)
    await first.insert(floats(1, 9), [1, 9])
    assert await second.search(floats(1), params=STRONG) == [[9, 1]]


async def test_strong_over_binary_vectors_and_an_index_with_its_parameters(cluster: RealCluster) -> None:
    first, second = cluster.doors
    await first.create("bits", dimension=16, metric=3)
    codes = np.array([[0, 0], [255, 0], [255, 255]], np.uint8)
    await first.insert(codes[:1], [1], name="bits")
    await first.flush("bits")
    await first.insert(codes[1:], [2, 3], name="bits")
    assert await second.search(codes[2:], params=STRONG, name="bits") == [[3, 2, 1]]
    await filled(cluster)
    await first.ok(
        "CreateIndex",
        collection_name="words",
        index_type=2,
        extra_params=[{"key": "params", "value": '{"nlist": 1}'}],
    )
    await first.insert(floats(3), [3])
    assert await second.search(floats(3), params='{"consistency_level": "Strong", "nprobe": 1}') == [[3, 2, 1]]
    assert await refusal(second, floats(3)) == (5, "Parameter list must contain: nprobe")


async def test_strong_is_refused_in_a_nodes_words_where_the_request_is_at_fault(cluster: RealCluster) -> None:
    await filled(cluster)
    door = cluster.doors[1]
    assert (await refusal(door))[0] == 11
    assert (await refusal(door, [[1.0, 2.0]]))[0] == 7
    assert (await refusal(door, floats(1), topk=0))[0] == 10


async def test_strong_within_named_files_flushes_for_growing_rows_are_in_none(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.delete([1])
    (segment,) = cluster.nodes["writer"]._catalog.known().collection("words").segments
    reply = await second.ok(
        "SearchInFiles",
        file_id_array=[str(segment.file.id)],
        search_param={
            "collection_name": "words",
            "topk": 5,
            "query_record_array": [{"float_data": [1, 1, 1, 1]}],
            "extra_params": [{"key": "params", "value": STRONG}],
        },
    )
    assert reply.ids[0] == 2


async def test_every_acknowledged_row_is_found_once_while_rows_are_inserted_deleted_and_flushed(
    cluster: RealCluster,
) -> None:
    first, second = cluster.doors
    await first.create()
    acknowledged: list[int] = []
    deleting: set[int] = set()
    deleted: set[int] = set()
    ended = asyncio.Event()

    async def write() -> None:
        for number in range(60):
            await first.insert(floats(number, number), [number, number])
            acknowledged.append(number)
            if number % 5 == 4:
                deleting.add(number - 2)
                await first.delete([number - 2])
                deleted.add(number - 2)
        ended.set()

    async def flush() -> None:
        while not ended.is_set():
            await first.flush()

    async def look(door: Any) -> int:
        looks = 0
        while not ended.is_set():
            must, gone = set(acknowledged), set(deleted)
            (found,) = await door.search(floats(30), 1000, params=STRONG)
            assert must - deleting <= set(found), "an acknowledged row is missing"
            assert not gone & set(found), "a deleted row was found"
            assert len(found) == 2 * len(set(found)), "a row was found more or less often than it is there"
            looks += 1
        return looks

    _, _, *looks = await asyncio.gather(write(), flush(), look(first), look(second))
    assert min(looks) > 0


async def test_session_sees_at_once_what_went_through_the_same_router_and_asks_no_longer_than_needed(
    cluster: RealCluster,
) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    assert await first.search(floats(3), params=SESSION) == [[3, 2, 1]]
    assert await second.search(floats(3), params=SESSION) == [[2, 1]]
    assert cluster.asked_for_growing() == 1
    await first.delete([3])
    assert await first.search(floats(3), params=SESSION) == [[2, 1]]
    await first.flush()
    await first.search(floats(3), params=SESSION)
    asked = cluster.asked_for_growing()
    assert await first.search(floats(3), params=SESSION) == [[2, 1]]
    assert cluster.asked_for_growing() == asked


async def test_session_sees_definitions_made_through_the_same_router(cluster: RealCluster) -> None:
    first, _ = cluster.doors
    await filled(cluster)
    await first.ok("CreatePartition", collection_name="words", tag="p")
    await first.insert(floats(3), [3], "p")
    assert await first.search(floats(3), tags=["p"], params=SESSION) == [[3]]


async def test_bounded_sees_what_was_flushed_before_its_time_and_eventually_need_not(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    await first.flush()
    assert await second.search(floats(3), params=EVENTUALLY) == [[2, 1]]
    patient = '{"consistency_level": "Bounded", "graceful_time_ms": 600000}'
    assert await second.search(floats(3), params=patient) == [[2, 1]]
    assert await second.search(floats(3), params=BOUNDED_NOW) == [[3, 2, 1]]
    assert cluster.asked_for_growing() == 0


async def test_strong_goes_on_while_the_database_is_away_until_something_changes(cluster: RealCluster) -> None:
    await filled(cluster)
    first, second = cluster.doors
    await first.insert(floats(3), [3])
    assert await second.search(floats(3), 1, params=STRONG) == [[3]]
    second.database.away = True
    await first.insert(floats(4), [4])
    assert await second.search(floats(4), 1, params=STRONG) == [[4]]
    await first.flush()
    code, reason = await refusal(second, floats(4))
    assert (code, "can be read now" in reason) == (15, True)
    assert await second.search(floats(4), params=SESSION) == [[2, 1]]
