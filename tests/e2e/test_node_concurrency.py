"""Calls of many clients at one node: none waits for what it does not need, and a stop loses nothing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from harness.node_calls import HNSW, NodeCalls, status
from harness.rpc import params, records
from harness.servers import Server, node
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb
from mishards.wire.protos import status_pb2

DIM = 64
ROWS = 5000
"""Enough for an index to be built."""

SLOW_BUILD = '{"M":64,"efConstruction":512}'


@contextmanager
def configured(folder: Path, text: str) -> Iterator[Server]:
    """A writable node with this configuration."""
    config = folder / "node.yaml"
    config.write_text(text)
    with node(folder, flags=["--config", str(config)]) as server:
        server.launch()
        yield server


def begin(address: str, method: str, request: Any) -> Any:
    """Send a call without waiting for it; return its grpc future."""
    channel = grpc.insecure_channel(address)
    stub: Any = channel.unary_unary(f"/milvus.grpc.MilvusService/{method}")
    return stub.future(request.SerializeToString(), timeout=60)


def slow_index(name: str) -> pb.IndexParam:
    return pb.IndexParam(collection_name=name, index_type=HNSW, extra_params=params(SLOW_BUILD))


def fill(rpc: NodeCalls, name: str, batches: int) -> None:
    """A collection of ``batches`` times 5000 rows that is one segment."""
    rpc.create(name, dimension=DIM)
    for batch in range(batches):
        rpc.insert(name, gaussian(ROWS, DIM, seed=batch), batch * ROWS, flush=batch == batches - 1)


def wait_for_build(rpc: NodeCalls, name: str) -> None:
    """Return once a CreateIndex has left its preparations behind and builds."""

    def building() -> bool:
        described = rpc.ok("DescribeIndex", collection_name=name)
        return bool(described.index_type == HNSW) and "CreateIndex" in rpc.running()

    eventually(building, 20, "the index is being built")


def test_a_long_build_keeps_nobody_waiting_and_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    with configured(tmp_path, "drain_s: 1\nstorage:\n  auto_flush_interval_s: 0\n") as server:
        with NodeCalls(server.address) as rpc:
            fill(rpc, "big", 6)
            fill(rpc, "other", 1)
            build = begin(server.address, "CreateIndex", slow_index("big"))
            wait_for_build(rpc, "big")
            more = gaussian(100, DIM, seed=50)
            for name, first_id in (("other", ROWS), ("big", 6 * ROWS)):
                rpc.insert(name, more, first_id)
                assert rpc.count(name) == first_id + len(more)
                found = rpc.search(name, more[:3], text='{"ef":64}')
                assert found.ravel().tolist() == [first_id, first_id + 1, first_id + 2]
            rpc.insert("big", more, 7 * ROWS, flush=False)
            assert not build.done(), "all of this was done while the index was being built"
        assert server.terminate(15) == 0
        assert build.exception(10).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        with NodeCalls(server.launch()) as rpc:
            assert rpc.count("big") == 6 * ROWS + 200
            server.kill()


def test_who_goes_away_is_not_served_and_who_is_too_many_is_told_so(tmp_path: Path) -> None:
    def new(name: str) -> pb.CollectionSchema:
        return pb.CollectionSchema(collection_name=name, dimension=4, index_file_size=10, metric_type=1)

    text = "calls:\n  definition_threads: 1\n  max_waiting: 2\nstorage:\n  auto_flush_interval_s: 0\n"
    with configured(tmp_path, text) as server, NodeCalls(server.address) as rpc:
        fill(rpc, "big", 1)
        build = begin(server.address, "CreateIndex", slow_index("big"))
        wait_for_build(rpc, "big")
        abandoned = begin(server.address, "CreateCollection", new("abandoned"))
        eventually(lambda: "CreateCollection" in rpc.running(), 10, "it waits")
        abandoned.cancel()
        eventually(lambda: "CreateCollection" not in rpc.running(), 10, "it is forgotten")
        waiting = [begin(server.address, "CreateCollection", new(name)) for name in ("first", "second")]
        eventually(lambda: rpc.running().count("CreateCollection") == 2, 10, "both wait")
        refused = begin(server.address, "CreateCollection", new("refused")).exception(10)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "try again later" in refused.details()
        rpc.search("big", gaussian(1, DIM), text='{"ef":64}')
        assert not build.done(), "all of this was done while the only thread was busy"
        assert status(status_pb2.Status.FromString(build.result(60)))[0] == 0
        for call in waiting:
            assert status(status_pb2.Status.FromString(call.result(30))) == (0, "OK")
        rpc.ok("CreateCollection", collection_name="refused", dimension=4, index_file_size=10, metric_type=1)
        shown = list(rpc.ok("ShowCollections").collection_names)
        assert sorted(shown) == ["big", "first", "refused", "second"], (
            "who waited longest is not told by the order of sending"
        )


class Inserter:
    """Inserts batches of its own until the node stops answering, and keeps account of what was acknowledged."""

    BATCH = 50

    def __init__(self, address: str, numbers: Iterator[int]) -> None:
        self.acknowledged: list[int] = []
        self.attempted: list[int] = []
        self.ended_with: tuple[object, str] | None = None
        self._address = address
        self._numbers = numbers
        self._rows = records(gaussian(self.BATCH, DIM))

    def run(self) -> None:
        with NodeCalls(self._address) as rpc:
            while self.ended_with is None:
                first = next(self._numbers) * self.BATCH
                ids = range(first, first + self.BATCH)
                self.attempted.append(first)
                try:
                    reply = rpc.call("Insert", collection_name="words", row_record_array=self._rows, row_id_array=ids)
                except grpc.RpcError as error:
                    self.ended_with = error.code(), str(error.details())
                    return
                code, reason = status(reply)
                if code != 0:
                    self.ended_with = code, reason
                    return
                self.acknowledged.append(first)


def test_a_stop_in_the_middle_of_inserts_and_searches_loses_nothing(tmp_path: Path) -> None:
    with configured(tmp_path, "drain_s: 5\n") as server:
        with NodeCalls(server.address) as rpc:
            fill(rpc, "words", 0)
        numbers = itertools.count()
        inserters = [Inserter(server.address, numbers) for _ in range(4)]
        searches: list[Future[object]] = []
        stopped = threading.Event()
        with ThreadPoolExecutor(6) as threads:
            runs = [threads.submit(inserter.run) for inserter in inserters]
            searches = [threads.submit(search_until, stopped, server.address) for _ in range(2)]
            try:
                eventually(lambda: all(len(i.acknowledged) >= 5 for i in inserters), 20, "all of them insert")
                code = server.terminate(20)
            finally:
                stopped.set()
                server.close()
            for run in runs:
                run.result(20)
            ends = [search.result(20) for search in searches]
        assert code == 0
        clear = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        # The last says that it no longer leads and did nothing.
        refused = {*clear, grpc.StatusCode.FAILED_PRECONDITION}
        assert {inserter.ended_with[0] for inserter in inserters if inserter.ended_with} <= refused
        assert set(ends) <= clear
        acknowledged = sorted(first for inserter in inserters for first in inserter.acknowledged)
        attempted = {first for inserter in inserters for first in inserter.attempted}
        with NodeCalls(server.launch()) as rpc:
            rows = rpc.count("words")
            kept = [first for first in sorted(attempted) if present(rpc, first)]
            assert set(acknowledged) <= set(kept)
            assert rows == len(kept) * Inserter.BATCH, "every batch is there whole, or not at all"


def search_until(stopped: threading.Event, address: str) -> object:
    """Search until the node stops answering; return what the first call that failed was told."""
    with NodeCalls(address) as rpc:
        while not stopped.is_set():
            try:
                rpc.search("words", gaussian(1, DIM), 5)
            except grpc.RpcError as error:
                return error.code()
    return grpc.StatusCode.UNAVAILABLE


def present(rpc: NodeCalls, first: int) -> bool:
    """Is the first row of a batch there?"""
    (found,) = rpc.ok("GetVectorsByID", collection_name="words", id_array=[first]).vectors_data
    return np.asarray(found.float_data).size == DIM
