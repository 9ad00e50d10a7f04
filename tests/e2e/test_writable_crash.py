"""kill -9 of the writable node at random moments: what was acknowledged is there once, nothing by half, no orphans.

``KILLS=100`` in the environment makes it kill that often.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from pathlib import Path

import grpc
import numpy as np

from harness.rpc import Rpc, params, records
from harness.servers import node
from harness.vectors import gaussian
from harness.waiting import eventually

DIM = 8
BATCH = 40
KILLS = int(os.environ.get("KILLS", "12"))
NAME = "crashed"


class Writer:
    """Inserts numbered batches and deletes some of their rows until the node is gone, and keeps account."""

    def __init__(self, rpc: Rpc, first_batch: int, seed: int) -> None:
        self.acknowledged: set[int] = set()
        self.attempted: set[int] = set()
        self.deleted: set[int] = set()
        self.maybe_deleted: set[int] = set()
        self._rpc = rpc
        self._batch = first_batch
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self._run, name="writer")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> int:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self._batch

    def _run(self) -> None:
        try:
            while True:
                ids = list(range(self._batch * BATCH, (self._batch + 1) * BATCH))
                self._batch += 1
                self.attempted.update(ids)
                reply = self._rpc.call(
                    "Insert",
                    collection_name=NAME,
                    row_record_array=records(rows_of(ids)),
                    row_id_array=ids,
                )
                assert reply.status.error_code == 0, reply.status
                self.acknowledged.update(ids)
                if self._random.random() < 0.3:
                    self._delete(self._random.sample(ids, 5))
                if self._random.random() < 0.2:
                    self._rpc.call("Flush", collection_name_array=[NAME])
        except grpc.RpcError:
            return  # killed

    def _delete(self, ids: list[int]) -> None:
        self.maybe_deleted.update(ids)
        assert self._rpc.call("DeleteByID", collection_name=NAME, id_array=ids).error_code == 0
        self.deleted.update(ids)


class Upkeep:
    """Flushes, builds and drops the index, and compacts, until the node is gone."""

    def __init__(self, rpc: Rpc, seed: int) -> None:
        self._rpc = rpc
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self._run, name="upkeep")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        build = {"index_type": 2, "extra_params": params('{"nlist":8}')}
        steps = [
            ("Flush", {"collection_name_array": [NAME]}),
            ("CreateIndex", {"collection_name": NAME, **build}),
            ("Compact", {"collection_name": NAME}),
            ("DropIndex", {"collection_name": NAME}),
        ]
        try:
            while True:
                method, fields = self._random.choice(steps)
                reply = self._rpc.call(method, **fields)
                assert reply.error_code == 0, (method, reply)
        except grpc.RpcError:
            return  # killed


def orphans(folder: Path) -> set[tuple[str, str]]:
    """Segment folders that no row of the catalog names."""
    found = {(path.parent.name, path.name) for path in (folder / "data" / "db" / "tables").glob("*/*")}
    with sqlite3.connect(folder / "data" / "meta.sqlite") as database:
        return found - set(database.execute("SELECT table_id, segment_id FROM TableFiles"))


def rows_of(ids: list[int]) -> np.ndarray:
    """The vector of an id, which its first component tells."""
    rows = gaussian(len(ids), DIM, seed=ids[0])
    rows[:, 0] = ids
    return rows


def stored_ids(rpc: Rpc) -> list[int]:
    """Every live id of the collection, by listing all of its segments."""
    info = json.loads(rpc.call("ShowCollectionInfo", collection_name=NAME).json_info)
    found: list[int] = []
    for segment in info["partitions"][0]["segments"] or []:
        reply = rpc.call("GetVectorIDs", collection_name=NAME, segment_name=segment["name"])
        assert reply.status.error_code == 0, reply.status
        found += reply.vector_id_array
    return found


def settled_ids(rpc: Rpc) -> list[int]:
    """Live ids, read again where a merge took a segment away in the middle of the listing."""

    def listed() -> list[int] | None:
        try:
            return stored_ids(rpc)
        except AssertionError:
            return None

    return eventually(listed, 20, "the segments hold still for one listing")


def test_acknowledged_writes_survive_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    kills = random.Random(20)
    server = node(tmp_path)
    acknowledged: set[int] = set()
    attempted: set[int] = set()
    deleted: set[int] = set()
    maybe_deleted: set[int] = set()
    batch = 0
    with server:
        address = server.launch()
        with Rpc(address) as rpc:
            made = rpc.call("CreateCollection", collection_name=NAME, dimension=DIM, index_file_size=1, metric_type=1)
            assert made.error_code == 0
        for round_number in range(KILLS):
            with Rpc(address) as rpc:
                writer = Writer(rpc, batch, seed=round_number)
                upkeep = Upkeep(rpc, seed=-round_number)
                writer.start()
                upkeep.start()
                wanted = kills.randint(BATCH, 40 * BATCH)
                eventually(lambda w=writer, n=wanted: len(w.acknowledged) >= n, 30, "some batches are acknowledged")
                server.kill()
                batch = writer.join()
                upkeep.join()
            acknowledged |= writer.acknowledged
            attempted |= writer.attempted
            deleted |= writer.deleted
            maybe_deleted |= writer.maybe_deleted
            address = server.launch()
            with Rpc(address) as rpc:
                eventually(lambda: not orphans(tmp_path), 20, "no folder is left that the catalog does not name")
                found = settled_ids(rpc)
                present = set(found)
                assert len(found) == len(present), "rows came back twice"
                assert acknowledged - maybe_deleted <= present, "acknowledged rows are lost"
                assert not deleted & present, "deleted rows are back"
                assert present <= attempted
                for first in {i // BATCH * BATCH for i in present - acknowledged}:
                    whole = set(range(first, first + BATCH)) - maybe_deleted
                    assert whole <= present, "half an unacknowledged batch is there"
    assert len(acknowledged) > KILLS * BATCH
