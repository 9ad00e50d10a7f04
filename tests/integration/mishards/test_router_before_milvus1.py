"""The router before a writable and two read-only nodes of Milvus 1.x, as their double has them, quirks included."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import Cluster
from harness.milvus1.hooks import Point
from harness.milvus1.node import Milvus1Double
from harness.vectors import gaussian, nearest, squared_l2

DIM = 8
BASE = gaussian(400, DIM)
QUERIES = gaussian(3, DIM, seed=5)

RouterBefore = Callable[..., NodeClient]


class Behind:
    """Two read-only nodes and a writable one, a router before them, and the rows that searches should see."""

    def __init__(self, cluster: Cluster, router_before: RouterBefore, **options: object) -> None:
        self.writable, self.writer = cluster.start("rw", **options)
        self.readonly: list[Milvus1Double] = [cluster.start("ro", **options)[0] for _ in range(2)]
        self.client = router_before(self.writable.address, *(node.address for node in self.readonly))
        self.cluster = cluster
        self.live: dict[int, np.ndarray] = {}

    def create(self, name: str = "words") -> None:
        assert self.client.create(name, DIM).reason == "OK"

    def insert(self, first: int, rows: int, name: str = "words") -> None:
        """Insert and flush a segment."""
        ids = range(first, first + rows)
        assert not self.client.insert(name, BASE[first : first + rows], ids).status.error_code
        assert not self.client.flush(name).error_code
        self.live.update((number, BASE[number]) for number in ids)

    def fill(self, segments: int = 6, rows: int = 30) -> None:
        self.create()
        for segment in range(segments):
            self.insert(segment * rows, rows)

    def expected(self, topk: int) -> list[list[int]]:
        ids = np.array(sorted(self.live))
        places, _ = nearest(squared_l2(QUERIES, np.stack([self.live[number] for number in ids])), min(topk, len(ids)))
        return ids[places].tolist()  # type: ignore[no-any-return]  # numpy's word for a list

    def found(self, topk: int = 10, params: str = "{}") -> list[list[int]]:
        reply = self.client.search("words", QUERIES, topk, params)
        assert reply.code == 0, reply.reason
        return [[number for number in row if number != -1] for row in reply.ids]

    def assert_right(self, topk: int = 10, params: str = "{}") -> None:
        assert self.found(topk, params) == self.expected(topk)


@pytest.fixture
def behind(cluster: Cluster, router_before: RouterBefore) -> Behind:
    return Behind(cluster, router_before)


def test_searches_are_split_over_the_readers_and_right(behind: Behind) -> None:
    behind.fill()
    for topk in (1, 10, 100, 1000):
        behind.assert_right(topk)


def test_an_empty_collection_and_a_missing_one_answer_as_a_node_does(behind: Behind) -> None:
    behind.create()
    reply = behind.client.search("words", QUERIES, 5)
    assert (reply.code, reply.reason, reply.row_num) == (0, "OK", 0)
    routed, direct = (client.search("absent", QUERIES, 5) for client in (behind.client, behind.writer))
    assert (routed.code, routed.reason) == (direct.code, direct.reason)


@pytest.mark.parametrize(
    ("queries", "topk", "params", "tags"),
    [
        (QUERIES, 0, "{}", []),
        (QUERIES, 16385, "{}", []),
        (gaussian(1, DIM + 1), 3, "{}", []),
        (QUERIES[:0], 3, "{}", []),
        (QUERIES, 3, "{}", ["absent"]),
    ],
)
@pytest.mark.parametrize("filled", [True, False])
def test_bad_requests_read_the_same_from_the_router_and_from_a_node(
    behind: Behind, queries: np.ndarray, topk: int, params: str, tags: list[str], filled: bool
) -> None:
    if filled:
        behind.fill(segments=2)
    else:
        behind.create()
    routed, direct = (client.search("words", queries, topk, params, tags) for client in (behind.client, behind.writer))
    assert (routed.code, routed.reason) == (direct.code, direct.reason)


@pytest.mark.parametrize("pads", [True, False])
def test_placeholders_never_push_out_a_hit(cluster: Cluster, router_before: RouterBefore, pads: bool) -> None:
    behind = Behind(cluster, router_before, hnsw_pads_with_minus_one=pads)
    behind.fill()
    assert not behind.client.create_index("words", 11, '{"M": 8, "efConstruction": 16}').error_code
    behind.assert_right(100, '{"ef": 128}')


def test_deleted_rows_vanish_from_nodes_that_had_them_loaded(behind: Behind) -> None:
    behind.fill()
    behind.assert_right()
    for gone in (list(range(0, 180, 7)), list(range(1, 180, 11))):
        assert not behind.client.delete("words", gone).error_code
        assert not behind.client.flush("words").error_code
        for number in gone:
            behind.live.pop(number, None)
        behind.assert_right(100)


def test_deletes_are_seen_on_an_indexed_collection_too(behind: Behind) -> None:
    behind.fill()
    assert not behind.client.create_index("words", 2, '{"nlist": 4}').error_code
    behind.assert_right(10, '{"nprobe": 4}')
    assert not behind.client.delete("words", range(0, 180, 2)).error_code
    assert not behind.client.flush("words").error_code
    for number in range(0, 180, 2):
        del behind.live[number]
    behind.assert_right(100, '{"nprobe": 4}')


@pytest.mark.parametrize("skips", [True, False])
def test_files_replaced_by_another_client_are_found_where_they_went(
    cluster: Cluster, router_before: RouterBefore, skips: bool
) -> None:
    behind = Behind(cluster, router_before, skips_deleted_files=skips)
    behind.fill()
    behind.assert_right()
    for _ in range(3):  # through the writable node, so that the router does not know
        assert not behind.writer.create_index("words", 2, '{"nlist": 4}').error_code
        behind.assert_right(100, '{"nprobe": 4}')
        assert not behind.writer.on("DropIndex", "words").error_code
        behind.assert_right(100)


def test_while_an_index_is_switched_rows_are_neither_lost_nor_doubled(behind: Behind) -> None:
    behind.fill()
    behind.assert_right(200)
    with behind.writable.hooks.pause_at(Point.INDEX_BOTH) as pause:
        building = threading.Thread(target=behind.writer.create_index, args=("words", 2))
        building.start()
        pause.wait_reached()
        behind.assert_right(200, '{"nprobe": 4}')
        pause.release()
        building.join()
    behind.assert_right(200, '{"nprobe": 4}')


def test_a_search_goes_on_when_a_reader_dies_and_when_all_do(behind: Behind) -> None:
    behind.fill()
    behind.assert_right()
    for node in behind.readonly:
        node.kill()
        behind.assert_right()


def test_searches_stay_right_while_rows_come_and_segments_merge(cluster: Cluster, router_before: RouterBefore) -> None:
    behind = Behind(cluster, router_before, merges=["flush", "index"], cleanup_delay_s=0.2)
    behind.fill(segments=2)
    stop, wrong = threading.Event(), []
    known = dict(behind.live)

    def search() -> None:
        while not stop.is_set():
            before = dict(known)
            reply = behind.client.search("words", QUERIES, 400)
            if reply.code:
                wrong.append(reply.reason)
                continue
            for row in reply.ids:
                hits = [number for number in row if number != -1]
                missing = set(before) - set(hits)
                if missing or len(hits) != len(set(hits)):
                    wrong.append(f"missing {sorted(missing)[:5]} of {len(before)}, {len(hits)} hits")

    searching = threading.Thread(target=search)
    searching.start()
    until = time.monotonic() + 4
    for segment in range(2, 13):
        behind.insert(segment * 30, 30)
        known.update(behind.live)
        if time.monotonic() > until:
            break
    stop.set()
    searching.join()
    assert wrong == []
