"""The whole picture at once: the unmodified client in front, and one part after the other dies behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.client import ClientRaised, Hits, RemoteClient
from harness.full_cluster import FullCluster
from harness.recorder import Recorder
from harness.servers import Server
from harness.truth import Truth
from harness.vectors import gaussian, nearest, squared_l2
from harness.waiting import eventually
from harness.zookeeper import ZooKeeper

NAME = "words"
DIM = 16
BASE = gaussian(20_000, DIM)
"""More than are written: whatever fails is tried with other rows, since it may have been done."""
QUERIES = gaussian(3, DIM, seed=7)
FRESH = {"consistency_level": "Bounded", "graceful_time_ms": 0}
"""Also what was flushed through the other router a moment ago."""
FIRST = 1000
BATCH = 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FullCluster]:
    if missing := FullCluster.missing():
        pytest.skip(missing)
    with FullCluster(tmp_path) as made:
        yield made


class Writer:
    """Inserts one batch of ``BASE`` after the other, and knows which were acknowledged."""

    def __init__(self, client: RemoteClient, truth: Truth) -> None:
        self._client = client
        self._truth = truth
        self._next = FIRST
        self.acknowledged = set(range(FIRST))

    def write(self) -> None:
        """Insert and flush, again with other rows while that fails."""
        eventually(self._is_written, 60, "a write is acknowledged")

    def _is_written(self) -> bool:
        ids = list(range(self._next, self._next + BATCH))
        self._next += BATCH
        self._truth.inserting(ids, BASE[ids])
        try:
            if not self._client.call("insert", collection_name=NAME, records=BASE[ids], ids=ids).ok:
                return False
            self.acknowledged.update(ids)
            if not self._client.call("flush", collection_name_array=[NAME]).ok:
                return False
        except ClientRaised:
            return False
        self._truth.inserted(ids)
        return True


@pytest.mark.timeout(300)  # seventeen programs start
def test_clients_keep_their_answers_while_the_parts_die_one_after_the_other(
    cluster: FullCluster, connect: Callable[..., RemoteClient]
) -> None:
    client, truth = connect(cluster.address), Truth()
    schema = {"collection_name": NAME, "dimension": DIM, "index_file_size": 64, "metric_type": 1}
    assert client.call("create_collection", param=schema).ok
    truth.inserting(range(FIRST), BASE[:FIRST])
    assert client.call("insert", collection_name=NAME, records=BASE[:FIRST], ids=list(range(FIRST))).ok
    assert client.call("flush", collection_name_array=[NAME]).ok
    truth.inserted(range(FIRST))
    found = client.call("search", collection_name=NAME, top_k=5, query_records=QUERIES, params=FRESH).value
    assert isinstance(found, Hits)
    assert found.ids == nearest(squared_l2(QUERIES, BASE[:FIRST]), 5)[0].tolist()

    writer = Writer(client, truth)
    with Recorder(cluster.address, NAME, truth, QUERIES, params=json.dumps(FRESH), retries=5) as recorder:
        recorder.wait_answers(10, 60)
        zookeeper = cluster.zookeeper_leader()
        dead: list[Server | ZooKeeper] = [cluster.leader(), cluster.routers[1], cluster.readers[0]]
        for program in [*dead, zookeeper]:
            program.kill()
            recorder.wait_answers(10, 60)
            writer.write()
        for program in [*dead, zookeeper]:
            program.launch()
        eventually(cluster.is_complete, 60, "everything is back")
        recorder.wait_answers(10, 60)
        writer.write()
    recorder.assert_clean()
    kept = sorted(writer.acknowledged)
    assert nearest_to_each(client, kept) == kept
    programs = len(cluster.nodes) + len(cluster.routers)
    eventually(lambda: cluster.prometheus.value("sum(up)") == programs, 30, "every program is scraped")


def nearest_to_each(client: RemoteClient, ids: list[int]) -> list[int]:
    """The id that a search for each row finds: the row's own, if it is there."""
    reply = client.call("search", collection_name=NAME, top_k=1, query_records=BASE[ids], params=FRESH)
    assert reply.ok, reply
    return [found for (found,) in reply.value.ids]
