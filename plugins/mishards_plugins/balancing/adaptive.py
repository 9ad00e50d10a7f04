"""Balancing ``adaptive``: by outstanding work and recent latency; the default.

Features: knows load yes; lets idle nodes take work of busy ones that they also hold yes.

Options: none.

The cost of asking a node is its recent latency times the calls that would be under way with this one, divided by the
share of load it should get now (slow start). A work stays with its preferred owner, whose searches can then be
combined, until another owner costs less than two thirds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mishards.errors import PluginError
from mishards.routing.balance import Load, Work

_LOYALTY = 1.5
"""How many times cheaper another owner must be."""
_UNKNOWN_S = 0.001
"""Latency assumed for a node that has not answered yet, and the least that counts."""


class Adaptive:
    """Stateless; the loads come with each call."""

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """The cheapest owner of each work, with a preference for the first."""
        given: Counter[str] = Counter()
        chosen = []
        for work in works:
            name = work.owners[0]
            if len(work.owners) > 1:
                costs = {owner: cost(loads[owner], given[owner]) for owner in work.owners}
                cheapest = min(work.owners, key=costs.__getitem__)
                if costs[cheapest] * _LOYALTY < costs[name]:
                    name = cheapest
            given[name] += 1
            chosen.append(name)
        return chosen


def cost(load: Load, given: int) -> float:
    """Expected seconds until a node answers one more call, with ``given`` works of this search already on it."""
    waiting = 1 + load.outstanding + given
    return max(load.latency_s, _UNKNOWN_S) * waiting / max(load.share, 0.01)


class AdaptivePlugin:
    """The entry point's object."""

    def balancing(self, options: Mapping[str, str]) -> Adaptive:
        """The one there is."""
        if options:
            raise PluginError(f"balancing adaptive has no options, got {', '.join(sorted(options))}")
        return Adaptive()


plugin = AdaptivePlugin()
