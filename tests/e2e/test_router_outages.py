"""The writable node or the database is away: what goes on, what waits, what is refused, and how it heals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from harness.fleet import BASE, KINDS, NAME, QUERIES, Fleet
from harness.mariadb import Database, MariaDB
from harness.recorder import Recorder
from harness.waiting import eventually
from mishards.wire.protos import milvus_pb2 as pb

REFUSED = {"killed": "Insert was not done, waited 500 ms", "frozen": "no sign of life for .* Insert may be done"}


def ask_all(fleet: Fleet) -> None:
    """Everything that needs no writable node."""
    client = fleet.client
    named = pb.CollectionName(collection_name=NAME)
    assert client.call("HasCollection", named, pb.BoolReply).bool_reply is True
    assert client.call("DescribeCollection", named, pb.CollectionSchema).dimension == 16
    assert list(client.call("ShowCollections", pb.Command(), pb.CollectionNameList).collection_names) == [NAME]
    assert client.count(NAME) == 120
    assert client.call("ShowPartitions", named, pb.PartitionList).status.error_code == 0
    assert client.call("DescribeIndex", named, pb.IndexParam).status.error_code == 0
    assert client.call("ShowCollectionInfo", named, pb.CollectionInfo).status.error_code == 0
    for command in ("version", "status", "mode", "conn_stats"):
        assert client.command(command).status.error_code == 0


@pytest.fixture(params=KINDS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, request.param, settings={"write": {"wait_ms": 500, "stall_ms": 1000}}) as made:
        made.fill(segments=3)
        yield made


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_without_the_writable_node_everything_but_writes_goes_on(fleet: Fleet, how: str) -> None:
    with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
        recorder.wait_answers(5)
        if how == "killed":
            fleet.writable.kill()
        else:
            fleet.writable.pause()
        ask_all(fleet)
        with pytest.raises(grpc.RpcError, match=REFUSED[how]):
            fleet.client.insert(NAME, BASE[:1], [9000])
        ask_all(fleet)
        recorder.wait_answers(20)
        if how == "killed":
            fleet.writable.launch()
        else:
            fleet.truth.inserting([9000], BASE[:1])  # it arrived, and may be carried out now
            fleet.writable.resume()
        eventually(lambda: fleet.router.node(fleet.writable.address)["health"] == "up", 15, "the node is back")
        fleet.insert(200, 40)
        recorder.wait_answers(20)
    recorder.assert_clean()


@pytest.fixture(params=KINDS)
def fleet_on_mariadb(request: pytest.FixtureRequest, tmp_path: Path, mysql_database: Database) -> Iterator[Fleet]:
    with Fleet(tmp_path, request.param, metadata=mysql_database.uri) as made:
        made.fill(segments=3)
        yield made


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_routers_own_part_of_a_search_survives_the_database(
    fleet_on_mariadb: Fleet, mariadb: MariaDB, how: str
) -> None:
    fleet = fleet_on_mariadb
    with Recorder(fleet.router.address, NAME, fleet.truth, QUERIES) as recorder:
        recorder.wait_answers(10)
        try:
            if how == "killed":
                mariadb.kill()
            else:
                mariadb.pause()
            eventually(lambda: fleet.router.get("/status")["catalog"]["age_ms"] > 1500, 20, "the snapshot is old")
            if fleet.kind == "ours":  # Milvus asks the database itself, at every search
                recorder.wait_answers(20)
            else:
                recorder.assert_never_wrong()
            assert fleet.client.count(NAME) == 120
        finally:
            if how == "killed":
                mariadb.launch()
            else:
                mariadb.resume()
        recorder.wait_answers(20)
        eventually(lambda: fleet.router.get("/status")["catalog"]["error"] is None, 20, "the catalog is back")
        fleet.insert(200, 40)
        recorder.wait_answers(20)
    if fleet.kind == "ours":
        recorder.assert_clean()
    else:
        recorder.assert_never_wrong()
