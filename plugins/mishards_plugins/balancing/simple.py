"""Balancing ``round_robin``, ``random`` and ``least_connections``.

Features: knows load only ``least_connections``; keeps the works of a search that have the same owners together yes.

Options: none.

``round_robin`` and ``random`` turn the list of owners of every work of a search by the same number, so that with R
replicas there are R ways to split a search and nodes can combine searches split alike.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mishards.errors import PluginError
from mishards.routing.balance import Balancing, Load, Work


class RoundRobin:
    """Each search turns one further."""

    def __init__(self) -> None:
        self._turns = itertools.count()

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """The owners whose turn it is."""
        return turned(works, next(self._turns))


class Random:
    """Each search turns by chance."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """Owners by chance."""
        return turned(works, self._random.randrange(1 << 30))


class LeastConnections:
    """The owner with the fewest calls under way, this search's included; of equals the preferred one."""

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """The least busy owner of each work."""
        given: Counter[str] = Counter()
        chosen = []
        for work in works:
            name = min(work.owners, key=lambda owner: loads[owner].outstanding + given[owner])
            given[name] += 1
            chosen.append(name)
        return chosen


def turned(works: Sequence[Work], turns: int) -> list[str]:
    """The owner at place ``turns`` of each work's list, counted round."""
    return [work.owners[turns % len(work.owners)] for work in works]


@dataclass(frozen=True, slots=True)
class SimplePlugin:
    """The entry points' objects."""

    name: str
    make: Callable[[], Balancing]

    def balancing(self, options: Mapping[str, str]) -> Balancing:
        """A new one."""
        if options:
            raise PluginError(f"balancing {self.name} has no options, got {', '.join(sorted(options))}")
        return self.make()


round_robin = SimplePlugin("round_robin", RoundRobin)
random_choice = SimplePlugin("random", Random)
least_connections = SimplePlugin("least_connections", LeastConnections)
