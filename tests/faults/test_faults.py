"""Every row of the table of faults, in short, one after the other on one running cluster.

``make faults`` brings each for longer and writes a report.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.fault_row import Row
from faults.fault_runner import Theatre, perform
from faults.fault_table import ROWS

from harness.full_cluster import FullCluster


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    if missing := FullCluster.missing():
        pytest.skip(missing)
    with Theatre() as made:
        yield made


@pytest.mark.timeout(600)  # the first one starts the cluster; a busy machine takes long to be as before
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.bring.__name__}")
def test_answers_stay_right_while_a_fault_lasts_and_all_is_as_before_afterwards(theatre: Theatre, row: Row) -> None:
    if missing := row.missing():
        pytest.skip(f"{row.name}: {missing}")
    result = perform(theatre.stage(), row, row.short_s)
    assert not result.problems, "\n".join(result.problems)
