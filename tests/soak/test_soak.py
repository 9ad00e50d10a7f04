"""The shortest form of ``make soak``, and that what judges a soak can tell right from wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faults.fault_stage import NAME, Stage
from faults.fault_table import ROWS
from soak.soak_content import differences
from soak.soak_flatness import Rise, Sample, trends
from soak.soak_report import html
from soak.soak_work import Plan, Soak

from harness.full_cluster import FullCluster
from harness.resources import Usage
from harness.truth import Truth

_QUICK = (6, 13, 23)
"""Faults that show within seconds and after which no program of ours needs to start again."""


def life(pid: int, resident: list[float], descriptors: int = 20) -> list[Sample]:
    """Samples every five seconds."""
    return [Sample(5.0 * n, "node", pid, Usage(10, descriptors, int(held))) for n, held in enumerate(resident)]


def test_a_steady_rise_is_noticed_and_a_warm_up_or_a_burst_is_not() -> None:
    warm = [100e6 + 20e6 * min(n, 30) for n in range(200)]
    burst = [*([100e6] * 150), *([900e6] * 20), *([100e6] * 30)]
    leak = [100e6 + 0.4e6 * n for n in range(200)]
    noise = np.random.default_rng(1).normal(0, 5e6, 200)
    for resident, flat in ((warm, True), (burst, True), (leak, False)):
        held = [value + jitter for value, jitter in zip(resident, noise, strict=True)]
        assert all(trend.is_flat for trend in trends(life(1, held))) == flat


def test_each_life_of_a_program_is_judged_by_itself_and_a_short_one_not_at_all() -> None:
    restarted = life(1, [100e6] * 200) + life(2, [500e6] * 200)
    assert {(trend.pid, trend.is_flat) for trend in trends(restarted)} == {(1, True), (2, True)}
    assert trends(life(1, [1e6 * n for n in range(20)])) == []


def test_a_trend_says_what_rose_by_how_much() -> None:
    leak = [Sample(5.0 * n, "node", 7, Usage(10, 20 + n, 1)) for n in range(200)]
    (said,) = [str(trend) for trend in trends(leak, Rise(descriptors=8)) if not trend.is_flat]
    assert said == "node (pid 7): descriptors 170, +99.0 in 8 min, allowed 8.0"


def test_a_seed_draws_the_same_faults_again_and_every_one_of_them_once_before_any_twice() -> None:
    first, again, other = (Plan(seed, 1).draw() for seed in (1, 1, 2))
    drawn = [next(first) for _ in range(40)]
    assert drawn == [next(again) for _ in range(40)]
    assert drawn != [next(other) for _ in range(40)]
    names = [row.name for row, _, _ in drawn]
    kinds = len(set(names))
    assert len(set(names[:kinds])) == kinds


@pytest.mark.timeout(400)  # the cluster starts first
def test_a_short_soak_keeps_every_row_and_answers_nothing_wrong(tmp_path: Path, pymilvus_python: Path) -> None:
    if missing := FullCluster.missing():
        pytest.skip(missing)
    said: list[str] = []
    quick = [row for row in ROWS if row.number in _QUICK]
    plan = Plan(7, 400, faults=3, rows=quick, quiet_s=(0.5, 1.0), fault_s=(1.0, 2.0), sample_s=1.0)
    with Stage(tmp_path, seed=plan.seed) as stage:
        result = Soak(stage, plan, said.append).run(pymilvus_python)
        with stage.traffic.paused():
            noticed = " ".join(differences(stage.cluster.address, NAME, with_other_rows(stage.truth)))
    print("\n".join(said))  # noqa: T201 - seen when it fails
    assert not result.problems, result.problems
    assert len(result.struck) == 3
    assert sum("all well" in line for line in said) == 3
    assert {sample.name for sample in result.samples} >= {"router-1", "router-2", "writable-1", "readonly-1"}
    assert html(result).count("<polyline") > 10
    for fault in ("1 acknowledged rows are lost", "1 deleted rows are back", "1 rows are other than they were sent"):
        assert fault in noticed


def with_other_rows(truth: Truth) -> Truth:
    """Have a truth say that one row was deleted, that one is another, and that there is one more."""
    deleted, other, *_ = truth.kept()
    truth.deleting([deleted])
    truth.deleted([deleted])
    for changed in (other, 1 << 40):
        truth.inserting([changed], truth.vectors([deleted]))
        truth.inserted([changed])
    return truth
