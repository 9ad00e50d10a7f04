"""Routing ``rendezvous``: each segment asks every node for a score, the highest hold it, none more than 1.25 shares.

Options: none. The scores are weighted rendezvous hashing's, ``-weight / ln(h)`` with ``h`` between 0 and 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from mishards.errors import PluginError
from mishards.routing.api import Owner, Placeable, Placement


class Rendezvous:
    """Places by scores."""

    def assign(self, segments: Sequence[Placeable], owners: Sequence[Owner], count: int) -> Placement:
        """Round by round, oldest segment first: the best node with room that does not hold the segment yet."""
        nodes, keys = {owner.name: owner for owner in owners}, sorted({segment.segment_id for segment in segments})
        ranked = {key: sorted(nodes, key=lambda name: (-score(key, nodes[name]), name)) for key in keys}
        chosen: dict[str, tuple[str, ...]] = dict.fromkeys(keys, ())
        held, total = dict.fromkeys(nodes, 0), sum(owner.weight for owner in nodes.values())
        for copies in range(1, min(count, len(nodes)) + 1):
            shares = {name: copies * len(keys) * owner.weight / total for name, owner in nodes.items()}
            room = {name: max(math.ceil(share), math.floor(1.25 * share)) for name, share in shares.items()}
            for key in keys:
                free = [name for name in ranked[key] if name not in chosen[key]]
                name = next((name for name in free if held[name] < room[name]), free[0])
                chosen[key] += (name,)
                held[name] += 1
        return chosen


def score(key: str, owner: Owner) -> float:
    """How much a node is for holding a segment."""
    digest = hashlib.sha256(f"{key}\n{owner.name}".encode()).digest()
    return -owner.weight / math.log((int.from_bytes(digest[:8], "big") + 0.5) / 2**64)


class RendezvousPlugin:
    """The entry point's object."""

    def routing(self, options: Mapping[str, str]) -> Rendezvous:
        """The one there is."""
        if options:
            raise PluginError(f"routing rendezvous has no options, got {min(options)}")
        return Rendezvous()


plugin = RendezvousPlugin()
