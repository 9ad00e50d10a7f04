"""Every row of the table of faults, in short, one after the other on one running cluster.

``make faults`` brings each for longer and writes a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.fault_row import Row
from faults.fault_runner import perform
from faults.fault_stage import Stage
from faults.fault_table import ROWS

from harness.full_cluster import FullCluster


class Theatre:
    """The stage, made anew after a fault that it did not recover from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stage: Stage | None = None
        self._number = 0

    def stage(self) -> Stage:
        """The stage, all well."""
        if self._stage is not None and self._stage.unwell():
            self.close()
        if self._stage is None:
            self._number += 1
            folder = self._folder / f"stage{self._number}"
            folder.mkdir()
            self._stage = Stage(folder)
        return self._stage

    def close(self) -> None:
        if self._stage is not None:
            self._stage.close()
        self._stage = None


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    if missing := FullCluster.missing():
        pytest.skip(missing)
    made = Theatre(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.mark.timeout(400)  # the first one starts the cluster
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.bring.__name__}")
def test_answers_stay_right_while_a_fault_lasts_and_all_is_as_before_afterwards(theatre: Theatre, row: Row) -> None:
    if missing := row.missing():
        pytest.skip(f"{row.name}: {missing}")
    result = perform(theatre.stage(), row, row.short_s)
    assert not result.problems, "\n".join(result.problems)
