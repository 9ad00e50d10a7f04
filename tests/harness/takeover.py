"""Several writable nodes that elect a leader, a read-only one and a router before them, under a stream of writes."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from harness.fleet import RouterProcess
from harness.rpc import Rpc, params, records
from harness.servers import Server, node
from harness.vectors import gaussian
from harness.waiting import eventually

NAME = "words"
DIM = 8
BATCH = 20
KNOWN = 7
"""The id of a row that is flushed before anything happens, and that every search must find."""


def rows_of(ids: list[int]) -> Any:
    """Rows whose first component tells the id."""
    rows = gaussian(len(ids), DIM, seed=ids[0])
    rows[:, 0] = ids
    return rows


class Cluster:
    """Two writable nodes, one read-only node and a router; close it in the end."""

    def __init__(self, folder: Path, *elections: Mapping[str, object], metadata: str = "") -> None:
        """``elections`` are that section of the configuration of the first writable node, and of the second."""
        (folder / "data").mkdir()
        self.metadata = metadata or f"sqlite:///{folder / 'data' / 'meta.sqlite'}"
        flags = ["--metadata", self.metadata]
        self.data = folder / "data"
        self._open = contextlib.ExitStack()
        self.writables = [
            self._open.enter_context(
                node(folder, name=name, flags=[*flags, "--config", _configured(folder, name, own)])
            )
            for name, own in zip(("w1", "w2"), elections, strict=True)
        ]
        self.reader = self._open.enter_context(node(folder, role="readonly", name="reader", flags=flags))
        try:
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(Server.launch, [*self.writables, self.reader]))
            addresses = ",".join(server.address for server in self.writables)
            discovery = f"static://?writable={addresses}&readonly={self.reader.address}"
            self.router = RouterProcess(folder, self.metadata, discovery, "router", {})
            self._open.enter_context(self.router).launch()
            self.rpc = self._open.enter_context(Rpc(self.router.address))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._open.close()

    def leader(self) -> Server:
        """The writable node that leads, as the router sees it, once one does."""
        by_address = {server.address: server for server in self.writables}

        def name() -> str:
            return self.router.get("/status")["writer"] or ""

        return by_address[eventually(name, 30, "a writable node leads")]

    def other(self, server: Server) -> Server:
        """The other writable node."""
        return next(found for found in self.writables if found is not server)

    def claim(self, server: Server) -> dict[str, Any]:
        """What a writable node says of its leading."""
        with Rpc(server.address) as rpc:
            said: dict[str, Any] = json.loads(rpc.call("Cmd", cmd="mishards leader").string_reply)
        return said

    def agreed(self) -> tuple[Server, Server]:
        """The leader and the standby, once both say the same."""

        def found() -> tuple[Server, ...]:
            first, second = self.writables
            said = [self.claim(first), self.claim(second)]
            if said[0]["leading"] == said[1]["leading"] or said[0]["leader"] != said[1]["leader"]:
                return ()
            return (first, second) if said[0]["leading"] else (second, first)

        leader, standby = eventually(found, 60, "one leads, and both know which")
        return leader, standby

    def create(self) -> None:
        """Make the collection, with the known row in a segment."""
        reply = self.rpc.call("CreateCollection", collection_name=NAME, dimension=DIM, index_file_size=1, metric_type=1)
        assert reply.error_code == 0, reply
        self.insert([KNOWN])
        self.flush()

    def insert(self, ids: list[int]) -> None:
        """Insert through the router; whatever fails raises."""
        rows = records(rows_of(ids))
        reply = self.rpc.call("Insert", collection_name=NAME, row_record_array=rows, row_id_array=ids)
        assert reply.status.error_code == 0, reply.status

    def flush(self) -> None:
        """Flush through the router."""
        reply = self.rpc.call("Flush", collection_name_array=[NAME])
        assert reply.error_code == 0, reply

    def stored(self) -> Counter[int]:
        """Every live id in the segments, and how often it is there."""

        def listed() -> Counter[int] | None:
            info = json.loads(self.rpc.call("ShowCollectionInfo", collection_name=NAME).json_info)
            found: Counter[int] = Counter()
            for segment in info["partitions"][0]["segments"] or []:
                reply = self.rpc.call("GetVectorIDs", collection_name=NAME, segment_name=segment["name"])
                if reply.status.error_code:
                    return None  # merged in the middle of the listing
                found.update(reply.vector_id_array)
            return found

        return eventually(lambda: [found] if (found := listed()) is not None else [], 30, "one whole listing")[0]

    def database_is_free(self) -> bool:
        """Can somebody write to a SQLite catalog now?"""
        with contextlib.closing(sqlite3.connect(self.data / "meta.sqlite", timeout=0.2)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.rollback()
            return True


def _configured(folder: Path, name: str, election: Mapping[str, object]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"election": dict(election)}), encoding="utf-8")
    return str(path)


class Stream:
    """Inserts and deletes through the router without an end, and keeps account of what was answered."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.acknowledged: set[int] = set()
        self.attempted: set[int] = {KNOWN}
        self.deleted: set[int] = set()
        self.maybe_deleted: set[int] = set()
        self.answered_at = 0.0
        """When the last write was acknowledged."""
        self._cluster = cluster
        self._next = 1000 * (seed + 1)
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream")

    @contextlib.contextmanager
    def running(self) -> Iterator[Stream]:
        """Write for as long as the block lasts."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._thread.join(60)
            assert not self._thread.is_alive()

    def wait_for_more(self, batches: int = 3, timeout_s: float = 30) -> None:
        """Wait until so many more batches were acknowledged."""
        wanted = len(self.acknowledged) + batches * BATCH
        eventually(lambda: len(self.acknowledged) >= wanted, timeout_s, "writes are acknowledged")

    def _run(self) -> None:
        while not self._stopping.is_set():
            ids = list(range(self._next, self._next + BATCH))
            self._next += BATCH
            with contextlib.suppress(grpc.RpcError, AssertionError):  # not acknowledged, so all is allowed
                self._write(ids)

    def _write(self, ids: list[int]) -> None:
        self.attempted.update(ids)
        self._cluster.insert(ids)
        self.answered_at = time.monotonic()
        self.acknowledged.update(ids)
        if self._random.random() < 0.5:
            doomed = self._random.sample(sorted(self.acknowledged - self.maybe_deleted), 3)
            self.maybe_deleted.update(doomed)
            assert self._cluster.rpc.call("DeleteByID", collection_name=NAME, id_array=doomed).error_code == 0
            self.deleted.update(doomed)

    def assert_kept(self, stored: Counter[int]) -> None:
        """Whatever was acknowledged is there once, or gone where it was deleted."""
        twice = [i for i, times in stored.items() if times > 1]
        assert not twice, f"rows are there twice: {sorted(twice)[:20]}"
        present = set(stored)
        lost = self.acknowledged - self.maybe_deleted - present
        assert not lost, f"acknowledged rows are lost: {sorted(lost)[:20]}"
        assert not self.deleted & present, f"deleted rows are back: {sorted(self.deleted & present)[:20]}"
        assert present <= self.attempted


class Searches:
    """Searches for the known row without a pause, from a thread; every answer must have it."""

    def __init__(self, cluster: Cluster) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._address = cluster.router.address
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="searches")

    @contextlib.contextmanager
    def running(self) -> Iterator[Searches]:
        """Search for as long as the block lasts; then assert that nothing failed."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.count, "nothing was searched"
        assert not self.failures, self.failures[:5]

    def _run(self) -> None:
        row = rows_of([KNOWN])
        with Rpc(self._address) as rpc:
            while not self._stopping.wait(0.02):
                try:
                    reply = rpc.call(
                        "Search",
                        collection_name=NAME,
                        query_record_array=records(row),
                        topk=1,
                        extra_params=params(),
                    )
                except grpc.RpcError as error:
                    self.failures.append(repr(error))
                    continue
                self.count += 1
                if reply.status.error_code or list(np.array(reply.ids)) != [KNOWN]:
                    self.failures.append(f"{reply.status} {list(reply.ids)}")
