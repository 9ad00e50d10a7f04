"""Balancing ``fewest``: the node with the fewest calls under way for the share that it should get. Options: none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mishards.routing.balance import Load, Work


class Fewest:
    """Looks at calls under way and at nothing else."""

    def choose(self, works: Sequence[Work], loads: Mapping[str, Load]) -> Sequence[str]:
        """The least busy owner of each work; the search's own works count."""
        added = dict.fromkeys(loads, 0)
        chosen = []
        for work in works:
            name = min(
                work.owners, key=lambda owner: (loads[owner].outstanding + added[owner] + 1) / _share(loads[owner])
            )
            added[name] += 1
            chosen.append(name)
        return chosen


def _share(load: Load) -> float:
    return max(load.share, 0.01)


class FewestPlugin:
    """The entry point's object."""

    def balancing(self, options: Mapping[str, str]) -> Fewest:
        """The one there is."""
        return Fewest()


plugin = FewestPlugin()
