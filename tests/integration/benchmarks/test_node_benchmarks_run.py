"""The benchmarks of nodes in their tiniest form; of the one with other servers, our own cluster alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from results import read

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("node", "IVF_FLAT, nq 100"),
        ("routed", "IVF_SQ8_1M"),
        ("insert", "1000 rows a call"),
        ("peers", "ours, IVF_FLAT"),
    ],
)
def test_a_benchmark_of_nodes_measures_what_it_says(name: str, subject: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = read(tmp_path, [name])
    assert not report.stopped
    assert subject in report.figures
    assert bool(report.results) == (name != "peers")
