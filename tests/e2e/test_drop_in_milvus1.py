"""A data folder and its database move between a Milvus 1.x server (its double) and our node, and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.mariadb import Database
from harness.processes import Program
from harness.rpc import Rpc, params, records
from harness.servers import node
from harness.vectors import gaussian, nearest, squared_l2

DIM = 16
BASE = gaussian(6000, DIM)
DELETED = list(range(0, 600, 3))
LIVE = np.setdiff1d(np.arange(6000), DELETED)
QUERIES = gaussian(5, DIM, seed=8)


def double(folder: Path, metadata: str) -> Program:
    """A standalone Milvus 1.x on ``folder/data``, as a process."""
    own = "sqlite://:@:/" if metadata.startswith("sqlite") else metadata  # it keeps SQLite in its own place
    command = [
        *(sys.executable, "-m", "harness.milvus1", "--role", "rw"),
        *("--metadata", own, "--storage", str(folder / "data")),
    ]
    return Program("milvus1", command, folder, environment={"PYTHONPATH": str(Path(__file__).parents[1])})


def address_of(program: Program) -> str:
    lines = [line for line in program.log.read_text().splitlines() if line.startswith("listening on ")]
    return lines[-1].removeprefix("listening on ") if lines else ""


@pytest.fixture(params=["sqlite", "mysql"])
def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'db' / 'meta.sqlite'}"
    else:
        database: Database = request.getfixturevalue("mysql_database")
        yield database.uri


def fill(rpc: Rpc) -> None:
    """A collection with rows in two partitions, an index on one, and deleted rows."""
    assert (
        rpc.call("CreateCollection", collection_name="c", dimension=DIM, index_file_size=64, metric_type=1).error_code
        == 0
    )
    assert rpc.call("CreatePartition", collection_name="c", tag="late").error_code == 0
    for tag, first, last in (("", 0, 5000), ("late", 5000, 6000)):
        inserted = rpc.call(
            "Insert",
            collection_name="c",
            row_record_array=records(BASE[first:last]),
            row_id_array=range(first, last),
            partition_tag=tag,
        )
        assert inserted.status.error_code == 0, inserted.status
    assert rpc.call("Flush", collection_name_array=["c"]).error_code == 0
    built = rpc.call(
        "CreateIndex", collection_name="c", index_type=2, extra_params=params('{"nlist":16}'), timeout_s=60
    )
    assert built.error_code == 0, built
    assert rpc.call("DeleteByID", collection_name="c", id_array=DELETED).error_code == 0
    assert rpc.call("Flush", collection_name_array=["c"]).error_code == 0


def check(rpc: Rpc) -> None:
    """Everything ``fill`` put there, and nothing else, is served."""
    assert rpc.call("CountCollection", collection_name="c").collection_row_count == len(LIVE)
    described = rpc.call("DescribeIndex", collection_name="c")
    assert (described.index_type, described.extra_params[0].value) == (2, '{"nlist":16}')
    assert list(rpc.call("ShowPartitions", collection_name="c").partition_tag_array) == ["_default", "late"]
    found = rpc.call(
        "Search",
        collection_name="c",
        query_record_array=records(QUERIES),
        topk=10,
        extra_params=params('{"nprobe":16}'),
    )
    assert found.status.error_code == 0, found.status
    places, distances = nearest(squared_l2(QUERIES, BASE[LIVE]), 10)
    np.testing.assert_array_equal(np.asarray(found.ids).reshape(5, 10), LIVE[places])
    np.testing.assert_allclose(np.asarray(found.distances).reshape(5, 10), distances, rtol=1e-4, atol=1e-5)
    stored = rpc.call("GetVectorsByID", collection_name="c", id_array=[1, 5999, 3])
    np.testing.assert_array_equal(np.asarray(stored.vectors_data[0].float_data, np.float32), BASE[1])
    np.testing.assert_array_equal(np.asarray(stored.vectors_data[1].float_data, np.float32), BASE[5999])
    assert not stored.vectors_data[2].float_data


def test_what_milvus_wrote_is_served_and_goes_on(tmp_path: Path, metadata: str) -> None:
    with double(tmp_path, metadata) as milvus:
        milvus.start(lambda: address_of(milvus))
        with Rpc(address_of(milvus)) as rpc:
            fill(rpc)
            check(rpc)
        milvus.terminate()
    with node(tmp_path, flags=["--metadata", metadata]) as ours, Rpc(ours.launch()) as rpc:
        check(rpc)
        more = rpc.call("Insert", collection_name="c", row_record_array=records(BASE[:1]), row_id_array=[0])
        assert more.status.error_code == 0
        assert rpc.call("Flush", collection_name_array=["c"]).error_code == 0
        assert rpc.call("CountCollection", collection_name="c").collection_row_count == len(LIVE) + 1
        assert rpc.call("DeleteByID", collection_name="c", id_array=[0]).error_code == 0
        assert rpc.call("Flush", collection_name_array=["c"]).error_code == 0
        check(rpc)


def test_what_we_wrote_is_served_by_milvus(tmp_path: Path, metadata: str) -> None:
    with node(tmp_path, flags=["--metadata", metadata]) as ours:
        with Rpc(ours.launch()) as rpc:
            fill(rpc)
            check(rpc)
        ours.terminate()
    with double(tmp_path, metadata) as milvus:
        milvus.start(lambda: address_of(milvus))
        with Rpc(address_of(milvus)) as rpc:
            check(rpc)
