from __future__ import annotations

from typing import cast

import pytest

from mishards.errors import PluginError
from mishards.plugins import load
from mishards.routing.balance import Balancing, BalancingPlugin, Load, Work
from mishards.testing.balancing import BalancingSuite

NAMES = ["adaptive", "least_connections", "random", "round_robin"]


def made(name: str) -> Balancing:
    return cast("BalancingPlugin", load("mishards.balancing", name)).balancing({})


class TestShippedBalancing(BalancingSuite):
    @pytest.fixture(params=NAMES)
    def balancing(self, request: pytest.FixtureRequest) -> Balancing:
        return made(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match=f"balancing {name} has no options, got x"):
        cast("BalancingPlugin", load("mishards.balancing", name)).balancing({"x": "1"})


def test_round_robin_turns_every_work_of_a_search_alike() -> None:
    works = [Work(("a", "b"), 1), Work(("b", "c"), 1)]
    balancing = made("round_robin")
    loads = dict.fromkeys("abc", Load())
    assert [list(balancing.choose(works, loads)) for _ in range(3)] == [["a", "b"], ["b", "c"], ["a", "b"]]


def test_least_connections_counts_what_the_search_itself_adds() -> None:
    works = [Work(("a", "b"), 1)] * 4
    chosen = made("least_connections").choose(works, {"a": Load(2), "b": Load(0)})
    assert list(chosen) == ["b", "b", "a", "b"]


def test_adaptive_stays_with_the_preferred_owner_among_equals() -> None:
    works = [Work(("b", "a"), 1), Work(("a", "c"), 1)]
    assert list(made("adaptive").choose(works, dict.fromkeys("abc", Load(0, 0.01)))) == ["b", "a"]


def test_adaptive_lets_an_idle_node_take_the_work_of_a_busy_one() -> None:
    works = [Work(("busy", "idle"), 1)]
    loads = {"busy": Load(8, 0.02), "idle": Load(0, 0.02)}
    assert list(made("adaptive").choose(works, loads)) == ["idle"]


def test_adaptive_avoids_a_slow_node_and_one_that_has_just_come_back() -> None:
    works = [Work(("slow", "quick"), 1), Work(("back", "quick"), 1)]
    loads = {"slow": Load(0, 0.5), "quick": Load(1, 0.01), "back": Load(0, 0.01, share=0.05)}
    assert list(made("adaptive").choose(works, loads)) == ["quick", "quick"]
