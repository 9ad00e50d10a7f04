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
