from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.cluster.health import Health, HealthOptions, HealthState

OPTIONS = HealthOptions()


def up(now: float = 0.0) -> Health:
    return Health().probe_answered(now, OPTIONS)


def test_a_new_node_may_be_asked_and_is_probed_at_once() -> None:
    assert Health().state is HealthState.NEW
    assert Health().probe_at <= 0
    assert Health().load_share(0, OPTIONS) == 1.0


def test_the_first_call_that_finds_a_node_gone_takes_it_down() -> None:
    down = up().call_broke(5, OPTIONS, "refused")
    assert (down.state, down.reason, down.since) == (HealthState.DOWN, "refused", 5)
    assert down.load_share(5, OPTIONS) == 0


def test_a_node_goes_down_after_three_faulty_answers_in_a_row_and_not_after_two() -> None:
    twice = up().call_faulted(1, OPTIONS, "x").call_faulted(2, OPTIONS, "x")
    assert twice.state is HealthState.UP
    assert twice.call_answered().call_faulted(3, OPTIONS, "x").state is HealthState.UP
    assert twice.call_faulted(3, OPTIONS, "x").state is HealthState.DOWN


def test_a_node_that_is_up_goes_down_after_three_failed_probes_in_a_row() -> None:
    health = up()
    for _ in range(2):
        health = health.probe_failed(1, OPTIONS, "silent")
        assert health.state is HealthState.UP
    assert health.probe_answered(2, OPTIONS).failures == 0
    assert health.probe_failed(2, OPTIONS, "silent").state is HealthState.DOWN


def test_a_node_never_heard_of_goes_down_after_one_failed_probe() -> None:
    assert Health().probe_failed(0, OPTIONS, "refused").state is HealthState.DOWN


def test_the_pause_before_a_node_is_asked_again_doubles_up_to_its_limit() -> None:
    health, pauses = Health(), []
    for now in range(0, 1000, 100):
        health = health.probe_failed(now, OPTIONS, "refused")
        pauses.append(round(health.probe_at - now, 3))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0, 5.0]


def test_a_node_that_comes_back_gets_its_load_slowly() -> None:
    back = up().call_broke(10, OPTIONS, "x").probe_answered(11, OPTIONS)
    shares = [back.load_share(11 + seconds, OPTIONS) for seconds in (0, 1.5, 3, 100)]
    assert shares == [0.05, 0.5, 1.0, 1.0]


def test_a_node_that_was_never_down_has_no_slow_start() -> None:
    assert up(10).load_share(10, OPTIONS) == 1.0


def test_a_flapping_node_is_asked_less_often_until_it_has_stayed_up() -> None:
    health, now = up(), 0.0
    for trips in range(1, 4):
        health = health.call_broke(now, OPTIONS, "x").probe_answered(now + 1, OPTIONS)
        assert health.trips == trips
    settled = health.probe_answered(now + 1 + OPTIONS.probe_interval_ms / 1000, OPTIONS)
    assert settled.trips == 0


@dataclass
class Oracle:
    """The same in the plainest words: what is the state after these events?"""

    state: str = "new"
    silent: int = 0
    faults: int = 0

    def event(self, name: str) -> None:
        if name == "broke" and self.state != "down":
            self.go_down()
        elif name == "fault" and self.state != "down":
            self.faults += 1
            if self.faults == OPTIONS.call_faults:
                self.go_down()
        elif name == "answer":
            self.faults = 0
        elif name == "probe":
            self.faults = 0 if self.state != "up" else self.faults
            self.state, self.silent = "up", 0
        elif name == "silence":
            self.silent += 1
            if self.state == "new" or (self.state == "up" and self.silent >= OPTIONS.probe_failures):
                self.go_down()

    def go_down(self) -> None:
        self.state, self.faults = "down", 0


@given(st.lists(st.sampled_from(["broke", "fault", "answer", "probe", "silence"]), max_size=40))
def test_any_course_of_events_ends_where_the_plain_rules_say(events: list[str]) -> None:
    health, oracle = Health(), Oracle()
    for now, name in enumerate(events):
        before = health
        if name == "broke":
            health = health.call_broke(now, OPTIONS, "x")
        elif name == "fault":
            health = health.call_faulted(now, OPTIONS, "x")
        elif name == "answer":
            health = health.call_answered()
        elif name == "probe":
            health = health.probe_answered(now, OPTIONS)
        else:
            health = health.probe_failed(now, OPTIONS, "x")
        oracle.event(name)
        assert health.state.value == oracle.state
        assert 0 <= health.load_share(now, OPTIONS) <= 1
        if health.state is HealthState.DOWN and before.state is not HealthState.DOWN:
            assert now < health.probe_at <= now + OPTIONS.retry_max_ms / 1000


@pytest.mark.parametrize("slow_start_ms", [0, 1])
def test_without_slow_start_a_node_that_comes_back_has_its_full_load(slow_start_ms: int) -> None:
    options = HealthOptions(slow_start_ms=slow_start_ms)
    back = Health().call_broke(1, options, "x").probe_answered(2, options)
    assert back.load_share(2.1, options) == 1.0
