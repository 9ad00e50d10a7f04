"""Every benchmark in its tiniest form, with what this machine has, through to the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from results import read

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
pytestmark = pytest.mark.timeout(300)
OURS = ("hop", "fanout", "merge", "scale", "replicas", "hedging")


@pytest.mark.parametrize("name", OURS)
def test_a_benchmark_measures_its_goals_or_says_what_is_missing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS), "--only", name, "--tiny", "--out", str(tmp_path)]
    document = tmp_path / "benchmarks.md"
    done = subprocess.run(
        [*command, "--document", str(document)], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = read(tmp_path, [name])
    assert report.stopped.startswith("skipped") or report.results, done.stdout
    assert report.title in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not document.exists(), "tiny figures are for nobody to read"


def test_a_benchmark_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS), "--only", "nobody,merge", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 1
    assert "failed: nobody" in done.stdout
    assert [report.name for report in read(tmp_path, ["nobody", "merge"])] == ["merge"]


def test_a_flame_graph_of_a_router_under_load_is_on_the_page(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "flames.py"), "--only", "router", "--seconds", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    name = "profile-router-one-node.svg"
    linked = f'href="{name}"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert linked == (tmp_path / name).exists() == ("skipped" not in done.stdout)
