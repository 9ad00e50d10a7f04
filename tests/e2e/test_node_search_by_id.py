"""SearchByID of a node: stored rows are the queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.rpc import Rpc, params, records
from harness.servers import node
from harness.vectors import gaussian

DIM = 16


def test_rows_are_found_near_stored_ones_and_an_unknown_id_has_an_empty_row(tmp_path: Path) -> None:
    base = gaussian(200, DIM)
    with node(tmp_path) as server, Rpc(server.launch()) as rpc:
        rpc.call("CreateCollection", collection_name="c", dimension=DIM, index_file_size=16, metric_type=1)
        rpc.call("Insert", collection_name="c", row_record_array=records(base), row_id_array=range(200))
        rpc.call("Flush", collection_name_array=["c"])
        found = rpc.call("SearchByID", collection_name="c", id_array=[5, 999, 7], topk=3, extra_params=params())
        assert found.status.error_code == 0
        assert found.row_num == 3
        rows = [list(found.ids)[i : i + 3] for i in (0, 3, 6)]
        assert (rows[0][0], rows[1], rows[2][0]) == (5, [-1, -1, -1], 7)
        assert list(found.distances)[3:6] == pytest.approx([3.4028235e38] * 3)
        search = rpc.call(
            "Search", collection_name="c", query_record_array=records(base[5:6]), topk=3, extra_params=params()
        )
        assert rows[0] == list(search.ids)
        missing = rpc.call("SearchByID", collection_name="c", topk=3, extra_params=params())
        assert missing.status.error_code == 5


def test_fewer_rows_than_asked_for_are_refused_and_so_is_a_place_without_any(tmp_path: Path) -> None:
    with node(tmp_path) as server, Rpc(server.launch()) as rpc:
        rpc.call("CreateCollection", collection_name="c", dimension=DIM, index_file_size=16, metric_type=1)
        asked = {"collection_name": "c", "topk": 3, "extra_params": params()}
        empty = rpc.call("SearchByID", id_array=[1], **asked)
        assert (empty.status.error_code, empty.status.reason) == (1, "Collection or partition is empty")
        rpc.call("CreatePartition", collection_name="c", tag="p")
        rpc.call("Insert", collection_name="c", row_record_array=records(gaussian(2, DIM)), row_id_array=[1, 2])
        rpc.call("Flush", collection_name_array=["c"])
        enough = rpc.call("SearchByID", id_array=[1], **asked)
        assert (enough.status.error_code, list(enough.ids)[::2]) == (0, [1, -1])  # one placeholder is a column too
        for narrower in ({"topk": 4}, {"partition_tag_array": ["p"]}):
            few = rpc.call("SearchByID", id_array=[1, 9], **{**asked, **narrower})
            assert (few.status.error_code, few.status.reason) == (1, "result doesn't match id count")
        unknown = rpc.call("SearchByID", id_array=[8, 9], **asked)
        assert (unknown.status.error_code, unknown.row_num, list(unknown.ids)) == (0, 2, [-1] * 6)
