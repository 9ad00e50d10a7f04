from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.query.hedge import HedgeOptions, Hedging

ON = HedgeOptions(enabled=True)
TICK_S = 0.001
"""What a loop that counts in milliseconds may take away."""


def taught(options: HedgeOptions, latencies: list[float]) -> Hedging:
    hedging = Hedging(options)
    for seconds in latencies:
        hedging.took(seconds)
    return hedging


def test_by_default_there_is_no_hedging() -> None:
    assert taught(HedgeOptions(), [0.1] * 100).delay_s() is None


def test_before_enough_is_known_there_is_none() -> None:
    assert taught(ON, [0.1] * 31).delay_s() is None
    assert taught(ON, [0.1] * 32).delay_s() == pytest.approx(0.1 + TICK_S)


def test_the_wait_is_the_percentile_of_recent_calls() -> None:
    hedging = taught(ON, [number / 100 for number in range(100)])
    assert hedging.delay_s() == pytest.approx(0.95 + TICK_S)
    for _ in range(512):
        hedging.took(0.01)
    assert hedging.delay_s() == pytest.approx(0.01 + TICK_S)


def test_calls_that_take_as_long_as_most_are_not_late_on_a_loop_that_counts_in_milliseconds() -> None:
    delay = taught(ON, [0.0024] * 50).delay_s()
    assert delay is not None
    assert int(delay * 1000) / 1000 > 0.0024


def test_the_wait_has_a_least() -> None:
    assert taught(replace(ON, min_delay_ms=20), [0.001] * 50).delay_s() == pytest.approx(0.02 + TICK_S)


@given(st.lists(st.booleans(), max_size=400), st.floats(0, 1))
def test_second_calls_never_exceed_their_share_of_first_calls(events: list[bool], budget: float) -> None:
    hedging, first = Hedging(replace(ON, budget=budget)), 0
    for wants_second in events:
        if wants_second:
            hedging.spend()
        else:
            hedging.called()
            first += 1
        assert hedging.made <= budget * first + 1e-6


@given(st.lists(st.floats(0, 100), min_size=32, max_size=2000))
def test_only_the_most_recent_calls_are_remembered(latencies: list[float]) -> None:
    recent = sorted(latencies[-512:])
    delay = taught(ON, latencies).delay_s()
    assert delay == pytest.approx(max(recent[min(len(recent) - 1, int(0.95 * len(recent)))], 0.001) + TICK_S)


def test_many_second_calls_at_once_need_room_for_all_of_them() -> None:
    hedging = Hedging(replace(ON, budget=1.0))
    for _ in range(3):
        hedging.called()
    assert not hedging.spend(4)
    assert hedging.spend(3)
    assert not hedging.spend()
    assert hedging.made == 3
