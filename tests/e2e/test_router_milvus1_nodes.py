"""A router process before nodes of the double: faults from inside a node, gaps of its writer, versions, roles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.fleet import BASE, DIM, NAME, QUERIES, RouterProcess
from harness.milvus1.client import NodeClient
from harness.milvus1.cluster import QUIET, Cluster
from harness.milvus1.hooks import Point
from harness.milvus1.node import Milvus1Double
from harness.milvus1.options import Options
from harness.recorder import Recorder
from harness.truth import Truth
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb

WRITES = (
    *("CreateCollection", "DropCollection", "CreateIndex", "DropIndex", "CreatePartition", "DropPartition"),
    *("Insert", "DeleteByID", "Flush", "Compact"),
)
NO_LIMIT = 16_384


class Behind:
    """A writable and read-only nodes inside this process, routers in processes of their own, and the truth."""

    def __init__(self, folder: Path, cluster: Cluster, stack: ExitStack) -> None:
        self.folder, self.cluster, self._stack = folder, cluster, stack
        self.truth = Truth()
        self.readers: list[Milvus1Double] = []

    def start(self, *, readers: Sequence[dict[str, Any]] = ({}, {}), replicas: int = 1, **options: Any) -> None:
        """Start the nodes, each reader with options of its own, and a router."""
        self.writable, self.writer = self.cluster.start("rw", **options)
        self.readers = [self.cluster.start("ro", **{**options, **own})[0] for own in readers]
        self.replicas = replicas
        self.router = self.add_router("router")
        self.client = self.client_of(self.router)

    def restart(self, number: int) -> None:
        """Kill a reader and start another process of it, so to speak, at its address."""
        self.readers[number].kill()
        again = Milvus1Double(
            "ro", self.cluster.uri, self.cluster.storage, address=self.readers[number].address, options=Options(**QUIET)
        )
        self.readers[number] = self._stack.enter_context(again)

    def add_router(self, name: str) -> RouterProcess:
        readers = ",".join(reader.address for reader in self.readers)
        discovery = f"static://?writable={self.writable.address}&readonly={readers}"
        settings = {"routing": {"replicas": self.replicas}, "write": {"wait_ms": 500}}
        router = self._stack.enter_context(RouterProcess(self.folder, self.cluster.uri, discovery, name, settings))
        router.launch()
        return router

    def client_of(self, router: RouterProcess) -> NodeClient:
        return self._stack.enter_context(NodeClient(router.address))

    def insert(self, first: int, rows: int, tag: str = "") -> None:
        ids = range(first, first + rows)
        self.truth.inserting(ids, BASE[first : first + rows])
        assert not self.client.insert(NAME, BASE[first : first + rows], ids, tag).status.error_code
        assert not self.client.flush(NAME).error_code
        self.truth.inserted(ids)

    def fill(self, segments: int = 4, rows: int = 30) -> None:
        assert self.client.create(NAME, DIM).reason == "OK"
        for segment in range(segments):
            self.insert(segment * rows, rows)

    def delete(self, ids: Sequence[int]) -> None:
        self.truth.deleting(ids)
        assert not self.client.delete(NAME, ids).error_code
        assert not self.client.flush(NAME).error_code
        self.truth.deleted(ids)

    def found(self, client: NodeClient, params: str = "{}") -> set[int]:
        """The ids of all rows that a search finds."""
        reply = client.search(NAME, QUERIES[:1], NO_LIMIT, params)
        assert reply.code == 0, reply.reason
        hits = [number for number in reply.ids[0] if number != -1]
        assert len(hits) == len(set(hits))
        return set(hits)

    def recorder(self, params: str = "{}") -> Recorder:
        return Recorder(self.router.address, NAME, self.truth, QUERIES, params=params)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    with ExitStack() as stack:
        yield Behind(tmp_path, stack.enter_context(Cluster(tmp_path)), stack)


def under_way(stack: ExitStack, work: Callable[[], object]) -> threading.Thread:
    """Run a call that stops at a pause; it is joined in the end, after the pause has been released."""
    thread = threading.Thread(target=work)
    thread.start()
    stack.callback(thread.join, 20)
    return thread


@pytest.mark.parametrize("replicas", [2, 1])
def test_a_reader_that_answers_errors_or_breaks_connections_fails_no_search(behind: Behind, replicas: int) -> None:
    behind.start(replicas=replicas)
    behind.fill(segments=6)
    with behind.recorder() as recorder:
        recorder.wait_answers(10)
        for reader in behind.readers:
            reader.hooks.fail_next("SearchInFiles", 10)
            recorder.wait_answers(20)
            reader.hooks.fail_next("SearchInFiles", 3, reason="Failed to load index file : DISK2CPU : /elsewhere")
            recorder.wait_answers(20)
            reader.hooks.drop_next("SearchInFiles", 2)
            recorder.wait_answers(20)
    recorder.assert_clean()


def test_a_deleted_row_is_returned_by_no_node_restarted_or_not_and_through_no_router(behind: Behind) -> None:
    behind.start()
    behind.fill(segments=6)
    gone = list(range(0, 180, 7))
    rest = set(range(180)) - set(gone)
    assert behind.found(behind.client) == set(range(180))  # now the readers have loaded every segment
    early = behind.add_router("early")
    assert behind.found(behind.client_of(early)) == set(range(180))
    behind.delete(gone)
    assert behind.found(behind.client) == rest
    at_once = '{"consistency_level": "Bounded", "graceful_time_ms": 0}'
    assert behind.found(behind.client_of(early), at_once) == rest
    late = behind.add_router("late")
    assert behind.found(behind.client_of(late)) == rest
    behind.restart(0)
    eventually(lambda: late.node(behind.readers[0].address)["health"] == "up", 15, "the node is back")
    again = list(range(1, 180, 7))
    behind.delete(again)
    for router in (behind.router, early, late):
        assert behind.found(behind.client_of(router), at_once) == rest - set(again)


def test_a_node_that_refuses_to_look_for_deletes_is_not_believed(behind: Behind) -> None:
    behind.start()
    behind.fill(segments=6)
    assert behind.found(behind.client) == set(range(180))
    for reader in behind.readers:
        reader.hooks.fail_next("ReloadSegments", 1)
    behind.delete(range(0, 180, 9))
    assert behind.found(behind.client) == set(range(180)) - set(range(0, 180, 9))


def test_a_delete_in_the_middle_of_a_search_costs_no_live_row(behind: Behind) -> None:
    behind.start(readers=[{}], merges=())
    behind.fill(segments=1, rows=60)
    assert behind.found(behind.client) == set(range(60))
    with ExitStack() as stack, behind.readers[0].hooks.pause_at("rpc SearchInFiles") as pause:
        found: list[set[int]] = []
        searching = under_way(stack, lambda: found.append(behind.found(behind.client)))
        pause.wait_reached()
        assert not behind.writer.delete(NAME, range(0, 60, 2)).error_code
        assert not behind.writer.flush(NAME).error_code
        pause.release()
        searching.join(20)
    assert found[0] >= set(range(1, 60, 2))


def test_rows_are_neither_missing_nor_double_in_the_gap_of_a_merge(behind: Behind) -> None:
    behind.start()
    behind.fill()
    with behind.recorder() as recorder, ExitStack() as stack:
        recorder.wait_answers(10)
        pause = stack.enter_context(behind.writable.hooks.pause_at(Point.MERGE_GAP))
        merging = under_way(stack, behind.writable.merge_now)
        pause.wait_reached()
        recorder.wait_answers(1)
        # The router waits for the end of the merge, and then goes on with the collection as it was.
        eventually(lambda: "it is searched as it was before" in behind.router.log_text(), 30, "the merge is given up")
        recorder.wait_answers(10)
        pause.release()
        merging.join(20)
        recorder.wait_answers(10)
    recorder.assert_clean()


@pytest.mark.parametrize("point", [Point.INDEX_NEW, Point.INDEX_BOTH])
def test_rows_are_neither_missing_nor_double_while_an_index_is_switched(behind: Behind, point: str) -> None:
    behind.start(merges=())
    behind.fill()
    with behind.recorder('{"nprobe": 4}') as recorder, ExitStack() as stack:
        pause = stack.enter_context(behind.writable.hooks.pause_at(point))
        building = under_way(stack, lambda: behind.writer.create_index(NAME, 2))
        pause.wait_reached()
        recorder.wait_answers(10)
        pause.release()
        building.join(20)
        recorder.wait_answers(10)
    recorder.assert_clean()


def test_rows_are_neither_missing_nor_double_in_the_gap_of_a_dropped_index(behind: Behind) -> None:
    behind.start(merges=())
    behind.fill()
    assert not behind.client.create_index(NAME, 2).error_code
    with behind.recorder('{"nprobe": 4}') as recorder, ExitStack() as stack:
        recorder.wait_answers(10)
        pause = stack.enter_context(behind.writable.hooks.pause_at(Point.INDEX_DROPPED))
        dropping = under_way(stack, lambda: behind.writer.on("DropIndex", NAME))
        pause.wait_reached()
        recorder.wait_answers(10)
        pause.release()
        dropping.join(20)
        recorder.wait_answers(10)
    recorder.assert_clean()


def test_rows_are_neither_missing_nor_double_while_segments_are_compacted(behind: Behind) -> None:
    behind.start(merges=())
    behind.fill()
    with behind.recorder() as recorder, ExitStack() as stack:
        for turn in range(3):
            behind.delete(range(turn, 120, 6))
            recorder.wait_answers(5)
            with behind.writable.hooks.pause_at(Point.COMPACT_BOTH) as pause:
                compacting = under_way(stack, lambda: behind.writer.on("Compact", NAME))
                pause.wait_reached()
                behind.router.get("/status")  # some milliseconds, in which searches go on
            compacting.join(20)
            recorder.wait_answers(5)
    recorder.assert_clean()


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("cleanup_delay_s", [0, 1])
def test_files_that_vanish_under_searches_are_noticed(behind: Behind, skips: bool, cleanup_delay_s: float) -> None:
    behind.start(cleanup_delay_s=cleanup_delay_s, skips_deleted_files=skips, merges=("flush", "index"))
    behind.fill(segments=3)
    with behind.recorder('{"nprobe": 4}') as recorder:
        for turn in range(3):
            behind.insert(200 + turn * 40, 40)
            assert not behind.writer.create_index(NAME, 2).error_code
            recorder.wait_answers(5)
            behind.delete(range(turn, 90, 5))
            assert not behind.writer.on("DropIndex", NAME).error_code
            recorder.wait_answers(5)
    recorder.assert_clean()


def test_hnsw_placeholders_and_rows_of_different_widths_hide_no_hit(behind: Behind) -> None:
    behind.start(merges=())
    assert behind.client.create(NAME, DIM).reason == "OK"
    for first, rows in ((0, 3), (3, 40), (43, 1), (44, 60)):
        behind.insert(first, rows)
    assert not behind.client.create_index(NAME, 11, '{"M": 8, "efConstruction": 16}').error_code
    with behind.recorder('{"ef": 200}') as recorder:
        recorder.wait_answers(30)
        behind.delete(range(0, 104, 3))
        recorder.wait_answers(30)
    recorder.assert_clean()


def test_versions_1_0_and_1_1_are_served_and_0_10_is_not(behind: Behind) -> None:
    behind.start(readers=[{"version": "1.0.0"}, {"version": "1.1.0"}, {"version": "0.10.6"}])
    behind.fill(segments=8)
    for _ in range(10):
        assert behind.found(behind.client) == set(range(240))
    new, newer, old = (behind.router.node(reader.address) for reader in behind.readers)
    assert (new["health"], newer["health"], old["health"]) == ("up", "up", "down")
    assert "0.10.6" in old["reason"]
    assert behind.readers[2].cached_files() == []
    assert behind.readers[0].cached_files()
    assert behind.readers[1].cached_files()


def test_no_write_reaches_a_reader_whether_the_writable_node_is_there_or_not(behind: Behind) -> None:
    behind.start()
    for reader in behind.readers:
        for method in WRITES:
            reader.hooks.drop_next(method)
    behind.fill(segments=2)
    partition = pb.PartitionParam(collection_name=NAME, tag="late")
    assert not behind.client.call("CreatePartition", partition).error_code
    assert not behind.client.create_index(NAME, 2).error_code
    assert not behind.client.on("DropIndex", NAME).error_code
    behind.delete([3])
    assert not behind.client.on("Compact", NAME).error_code
    assert not behind.client.call("DropPartition", partition).error_code
    behind.writable.kill()
    client = behind.client
    for write in (
        lambda: client.insert(NAME, BASE[:1], [9000]),
        lambda: client.flush(NAME),
        lambda: client.delete(NAME, [5]),
        lambda: client.create("other", DIM),
        lambda: client.create_index(NAME, 2),
        lambda: client.on("DropCollection", NAME),
    ):
        with pytest.raises(grpc.RpcError, match="was not done, waited 500 ms"):
            write()
    for reader in behind.readers:
        assert [method for method in WRITES if not reader.hooks.takes_drop(method)] == []
