"""What every balancing must do; subclass and say how yours is made."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mishards.routing.balance import Balancing, Load, Work

_INHERITED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""What hypothesis finds odd about a suite that several classes inherit: one method, many fixtures."""

_NAMES = [f"node-{number}" for number in range(6)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Work], dict[str, Load]]:
    """Works of a search, and the loads of all nodes."""
    owner_lists = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4, unique=True).map(tuple)
    works = draw(st.lists(st.builds(Work, owner_lists, st.integers(0, 10**6)), max_size=12))
    load = st.builds(Load, st.integers(0, 50), st.floats(0, 10), st.floats(0, 1))
    return works, {name: draw(load) for name in _NAMES}


class BalancingSuite:
    """The clauses of ``Balancing``; the fixture ``balancing`` gives one."""

    @pytest.fixture
    def balancing(self) -> Balancing:
        """Override: the balancing."""
        raise NotImplementedError

    @settings(max_examples=200, suppress_health_check=_INHERITED)
    @given(situations())
    def test_each_work_goes_to_one_of_its_owners(
        self, balancing: Balancing, situation: tuple[list[Work], dict[str, Load]]
    ) -> None:
        works, loads = situation
        chosen = balancing.choose(works, loads)
        assert len(chosen) == len(works)
        assert all(name in work.owners for name, work in zip(chosen, works, strict=True))

    def test_over_many_equal_searches_that_overlap_no_owner_is_left_out(self, balancing: Balancing) -> None:
        works = [Work(("a", "b", "c"), 10)]
        outstanding = dict.fromkeys("abc", 0)
        for _ in range(300):
            loads = {name: Load(count, 0.01) for name, count in outstanding.items()}
            outstanding[balancing.choose(works, loads)[0]] += 1
        assert min(outstanding.values()) >= 30
