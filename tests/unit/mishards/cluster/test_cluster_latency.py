from __future__ import annotations

import pytest

from mishards.cluster.latency import Latency
from mishards.routing.balance import Load, Work
from mishards_plugins.balancing.adaptive import Adaptive


def test_calls_in_a_row_make_a_moving_average() -> None:
    latency = Latency()
    for _ in range(50):
        latency.measured(0.010, now=100.0)
    assert latency.recent_s(100.0) == pytest.approx(0.010, rel=0.01)
    latency.measured(0.110, now=100.0)
    assert latency.recent_s(100.0) == pytest.approx(0.030, rel=0.01)


def test_what_is_not_measured_any_more_is_forgotten() -> None:
    latency = Latency()
    latency.measured(1.0, now=100.0)
    assert latency.average_s == latency.recent_s(100.0) == pytest.approx(0.2)
    assert latency.recent_s(101.0) == pytest.approx(0.1)
    assert latency.recent_s(110.0) < 0.001
    assert latency.average_s == pytest.approx(0.2), "what is shown to people is the last that was measured"
    latency.measured(0.001, now=110.0)
    assert latency.recent_s(110.0) < 0.001


def test_a_node_that_was_slow_once_is_asked_again_by_the_default_balancing() -> None:
    slow, quick = Latency(), Latency()
    slow.measured(2.0, now=0.0)
    work = Work(("slow", "quick"), 1000)

    def chosen(now: float) -> str:
        quick.measured(0.005, now)
        loads = {"slow": Load(0, slow.recent_s(now), 1.0), "quick": Load(0, quick.recent_s(now), 1.0)}
        return Adaptive().choose([work], loads)[0]

    assert chosen(0.1) == "quick"
    assert any(chosen(now / 10) == "slow" for now in range(200))
