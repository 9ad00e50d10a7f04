"""Imports that are interrupted, killed and cut off from a node that dies: each row is there once in the end.

``KILLS=30`` in the environment kills the import that often.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harness.processes import Program
from harness.programs import MISHARDS, program
from harness.servers import Server, node
from harness.tcp_proxy import TcpProxy
from harness.vectors import gaussian
from harness.waiting import eventually
from mishards.cli import main

KILLS = int(os.environ.get("KILLS", "2"))
BLOCK, BLOCKS, DIM = 50, 200, 8
VECTORS = gaussian(BLOCK * BLOCKS, DIM)
SETTLE_S = 2
WAIT_S = 60


class Import(Program):
    """``mishards import`` of the file ``rows.npy`` into ``things``."""

    def __init__(self, folder: Path, address: str) -> None:
        self.journal = folder / "rows.npy.things.import.json"
        command = [
            *(*program(MISHARDS), "import", "rows.npy", "things", "--create", "--address", address),
            *("--batch-rows", str(BLOCK), "--in-flight", "3", "--settle", str(SETTLE_S)),
        ]
        super().__init__("import", command, folder)

    def begun(self) -> int:
        """Blocks that may have been sent."""
        return (
            int(json.loads(self.journal.read_text(encoding="utf-8") or "{}").get("begun", 0))
            if (self.journal.exists())
            else 0
        )

    def start_until(self, blocks: int) -> None:
        """Run until so many blocks have been begun."""
        self.start()
        eventually(lambda: self.begun() >= blocks or not self.running, WAIT_S, lambda: f"progress\n{self.log_tail()}")


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", VECTORS)
    return tmp_path / "rows.npy"


def freeze(program: Server, importer: Import, act: Callable[[], None]) -> None:
    """Do something to the import while the node holds its requests; then let the node go on with them."""
    program.pause()
    try:
        act()
    finally:
        program.resume()


def assert_whole(address: str, folder: Path) -> None:
    """Check that the collection has every row of the file once, by its vector and id."""
    result = CliRunner().invoke(main, ["export", "things", str(folder / "out.npz"), "--address", address])
    assert result.exit_code == 0, result.output
    with np.load(folder / "out.npz") as found:
        order = np.argsort(found["ids"])
        assert found["ids"][order].tolist() == list(range(len(VECTORS)))
        assert (found["vectors"][order] == VECTORS).all()


def test_an_import_that_is_stopped_killed_and_cut_off_brings_each_row_once(rows_file: Path, tmp_path: Path) -> None:
    chosen = random.Random(5)
    with node(tmp_path) as server, TcpProxy(server.launch()) as proxy, Import(tmp_path, proxy.address) as importer:
        proxy.throttle(120_000)  # some sixty blocks a second
        importer.start_until(5)
        freeze(server, importer, lambda: importer.signal(signal.SIGINT))
        assert importer.wait(WAIT_S) == 130, importer.log_tail()
        assert "the same command goes on" in importer.log_text()
        stopped = json.loads(importer.journal.read_text(encoding="utf-8"))
        assert stopped["done"] == stopped["begun"], "what was under way was finished"
        for kill in range(KILLS):
            low = 10 + 80 * kill // KILLS
            importer.start_until(chosen.randrange(low, low + max(1, 80 // KILLS)))
            freeze(server, importer, importer.kill)
        importer.start_until(100)
        server.kill()
        server.launch()
        proxy.heal()
        assert importer.wait(WAIT_S) == 0, importer.log_tail()
        assert_whole(server.address, tmp_path)
