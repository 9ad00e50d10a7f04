"""One writable node a folder, where no leader is elected."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.node_calls import NodeCalls
from harness.servers import node
from harness.vectors import gaussian


def test_a_second_writable_node_ends_with_one_line_until_the_first_is_gone(tmp_path: Path) -> None:
    rows = gaussian(10, 8)
    alone = ("--election", "none")
    with node(tmp_path, name="first", flags=alone) as first, node(tmp_path, name="second", flags=alone) as second:
        with NodeCalls(first.launch()) as rpc:
            rpc.create("words", dimension=8)
            rpc.insert("words", rows)
            second.start()
            assert second.wait(30) == 1
            said = [line for line in second.log_text().splitlines() if "level=INFO" not in line]
            assert len(said) == 1, said
            assert str(tmp_path / "data") in said[0]
            assert f"locked by process {first.pid}" in said[0]
            rpc.insert("words", rows, 10)
        first.kill()
        with NodeCalls(second.launch()) as rpc:
            assert rpc.count("words") == 20
            rpc.insert("words", rows, 20)
            np.testing.assert_array_equal(np.sort(rpc.search("words", rows[:1], 3)), [[0, 10, 20]])
