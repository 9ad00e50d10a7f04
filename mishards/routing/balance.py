"""What balancing plugins implement: which replica to ask now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of a node's load: calls under way, recent seconds a call, and the share it should get (0 to 1)."""

    outstanding: int = 0
    latency_s: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """Segments that any of ``owners`` can search, the preferred owner first; ``rows`` is their size."""

    owners: tuple[str, ...]
    rows: int


class Balancing(Protocol):
    """Chooses among replicas; may keep state of its own, belongs to one event loop.

    1. One name for each work, in the same order, and always one of its owners.
    2. ``loads`` has every owner that is named.
    3. Works of a search are chosen together, so that the load a choice makes counts for the next.
    """

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """The node to ask for each work."""
        ...


class BalancingPlugin(Protocol):
    """The object that an entry point of the group ``mishards.balancing`` names."""

    def balancing(self, options: Mapping[str, str]) -> Balancing:
        """A balancing with these options. Raises PluginError when they cannot be used."""
        ...
