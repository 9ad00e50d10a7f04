"""A stranger's routing and balancing, on the path and not installed, are held to the same suites as ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mishards.assembly import balancing_for, routing_for
from mishards.errors import PluginError
from mishards.plugins import installed
from mishards.query.options import RoutingOptions
from mishards.routing.api import Routing
from mishards.routing.balance import Balancing
from mishards.testing.balancing import BalancingSuite
from mishards.testing.routing import RoutingSuite

FOLDER = Path(__file__).parents[1] / "third_party"


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [name for name in sys.modules if name.startswith("stranger_")]:
        del sys.modules[name]


class TestStrangersRouting(RoutingSuite):
    @pytest.fixture
    def routing(self) -> Routing:
        return routing_for(RoutingOptions(plugin="rendezvous"))


class TestStrangersBalancing(BalancingSuite):
    @pytest.fixture
    def balancing(self) -> Balancing:
        return balancing_for("fewest")


def test_strangers_of_every_family_are_listed() -> None:
    listed = {(plugin.group, plugin.name) for plugin in installed() if plugin.distribution == "stranger 1.0"}
    assert {("mishards.balancing", "fewest"), ("mishards.routing", "rendezvous")} <= listed


def test_a_name_that_nobody_has_lists_strangers_too_and_the_closest() -> None:
    with pytest.raises(PluginError, match=r"'rendezvouz'; installed are .*rendezvous.*did you mean rendezvous\?"):
        routing_for(RoutingOptions(plugin="rendezvouz"))
    with pytest.raises(PluginError, match=r"'fewst'; installed are .*fewest.*did you mean fewest\?"):
        balancing_for("fewst")
